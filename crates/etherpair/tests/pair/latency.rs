//! What a node says of how long its initiators have waited.

use crate::pair;
use crate::world::World;

#[test]
fn latency_is_told_of_each_volume_by_both_kinds() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    assert!(world.bench("7.1 -i eth1 --rw randrw --verify --allow-writes --requests 400").status.success());
    for kind in ["reads", "writes"] {
        let told = [0, 1].map(|node| world.volume(node)["latency"][kind].clone());
        let is_told = told.iter().any(|times| {
            let [p50, p99, max] = ["p50", "p99", "max"]
                .map(|name| times[format!("{name}_microseconds")].as_u64().expect("a number"));
            assert!(p50 <= p99 && p99 <= max, "{times}");
            max > 0
        });
        assert!(is_told, "{kind}: {told:?}");
    }
    assert!([0, 1].iter().any(|node| world.does(*node, "status").contains("writes took ")));
}
