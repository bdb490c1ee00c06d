//! What nobody should send, at the port for the peer and at the socket for commands of running daemons.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{PATIENCE, World};
use crate::{assert_equal_copies, pair, told_at_most_since};

#[test]
fn garbage_at_the_peer_port_changes_nothing_and_is_told_once() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    // What an operator has written by hand the peer does not take away.
    let file = world.directory(0).join("e7.1.volume.toml");
    let volume = fs::read_to_string(&file).expect("a description");
    let node = fs::read_to_string(world.configuration_file(0)).expect("a configuration");
    fs::write(world.configuration_file(0), format!("{node}[[volume]]\n{volume}")).expect("by hand");
    fs::remove_file(&file).expect("by hand");
    world.does(0, "reload");
    let remove = "{\"remove\":{\"address\":\"e7.1\",\"identity\":null,\"delete_data\":true}}\n";
    let load = "7.1 -i eth1 --rw randrw --verify --allow-writes --seconds 4";
    tells_little_and_goes_on(&world, load, "connection from", || {
        let (deep, long) = ("[".repeat(60_000) + "\n", "x".repeat(1 << 20));
        for line in [&b"{}\n"[..], b"nonsense", b"{\"fly\":null}\n", b"\xff\xfe\n", b"\n", deep.as_bytes()] {
            let said = world.send_as_peer(0, line);
            assert!(said.lines().count() == 1 && said.contains("not a request of a peer"), "{said}");
        }
        world.send_as_peer(0, long.as_bytes());
        let log = fs::read_to_string(world.scratch.join("node0.log")).expect("a log");
        assert!(log.contains("ended: not a request of a peer"), "{log}");
        for _ in 0..5 {
            let said = world.send_as_peer(0, remove.as_bytes());
            assert!(said.contains("e7.1 stands in node.toml"), "{said}");
        }
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 300], b"EPp\n\x01\x01\x01", b"EP\r\n", b""] {
            for _ in 0..20 {
                world.send_to_peer_port(0, bytes);
                world.send_to_peer_port(1, bytes);
            }
        }
    });
}

/// Requests as they are documented, and as they were recorded: sent again, cut anywhere, and what never was one.
#[test]
fn garbage_cut_and_repeated_requests_at_the_socket_change_nothing_and_are_told_once() {
    let world = World::new();
    let (_witness, _nodes) = pair(&world);
    let load = "7.1 -i eth1 --rw randrw --verify --allow-writes --seconds 5";
    let request =
        "{\"command\":\"remove_volume\",\"address\":\"7.1\",\"delete_data\":true,\"here_only\":false}";
    let create = "{\"command\":\"create_volume\",\"address\":\"7.1\",\"bytes\":67108864,\"data\":null,\"metadata\":null,\
                  \"peer_data\":null,\"peer_metadata\":null,\"overwrite_peer\":true}\n";
    tells_little_and_goes_on(&world, load, "not a request", || {
        for end in 1..=request.len() {
            let said = world.send_to_socket(0, &request.as_bytes()[..end]);
            assert!(said.contains("cut off"), "{said}");
            let said = world.send_to_socket(0, format!("{}\n", &request[..end - 1]).as_bytes());
            assert!(said.contains("not a request"), "{said}");
        }
        let long = [vec![b'x'; 1 << 20], b"\n".to_vec()].concat();
        let deep = "[".repeat(60_000) + "\n";
        for line in [
            &b"{}\n"[..],
            b"nonsense",
            b"{\"command\":\"fly\"}\n",
            b"\0\0\0\n",
            b"\xff\xfe\n",
            b"\n",
            &long,
            deep.as_bytes(),
        ] {
            let said = world.send_to_socket(0, line);
            assert!(said.lines().all(|line| line.contains("not a request")), "{said}");
        }
        // Who listens to events and goes leaves his place, whether or not there is anything to tell.
        for _ in 0..100 {
            world.send_to_socket(0, b"{\"command\":\"events\"}\n");
        }
        // A request that was carried out once is refused when it comes again, or does nothing.
        for _ in 0..5 {
            let said = world.send_to_socket(0, create.repeat(3).as_bytes());
            assert_eq!(said.matches("e7.1 is the address of another volume").count(), 3, "{said}");
            let said = world
                .send_to_socket(0, "{\"command\":\"join\"}\n{\"command\":\"reload\"}\n".repeat(3).as_bytes());
            assert_eq!(said.matches("done").count(), 6, "{said}");
        }
    });
}

#[test]
fn programs_that_listen_to_events_keep_no_command_waiting() {
    const PLACES: usize = 48;
    let world = World::new();
    let _node = world.start_node(0);
    let mut listeners: Vec<UnixStream> = (0..=PLACES)
        .map(|_| {
            let mut stream = UnixStream::connect(world.directory(0).join("socket")).expect("it listens");
            stream.write_all(b"{\"command\":\"events\"}\n").expect("asked");
            stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a time");
            stream
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    let mut said = String::new();
    // Which of them comes last nobody knows; it is told so, and let go.
    while listeners.len() > PLACES {
        assert!(Instant::now() < deadline, "one is refused");
        listeners.retain_mut(|stream| stream.read_to_string(&mut said).is_err());
    }
    assert!(said.contains("listen to events already"), "{said}");
    assert_eq!(world.status(0)["volumes"], serde_json::json!([]));
    let refused = world.command(0, "events").output().expect("it ends");
    assert!(refused.stderr.contains("listen to events already") && !refused.status.success(), "{refused:?}");
}

/// Under load node 0 is sent what is no use to it: it says so in few lines, and neither the load nor the copies suffer.
fn tells_little_and_goes_on(world: &World, load: &str, told: &str, send: impl FnOnce()) {
    let begun = Instant::now();
    let output = thread::scope(|scope| {
        let load = scope.spawn(|| world.bench(load));
        send();
        load.join().expect("no panic")
    });
    assert!(output.status.success(), "{output:?}\n{}", world.logs());
    world.wait_for_in_sync();
    let log = fs::read_to_string(world.scratch.join("node0.log")).expect("a log");
    let lines = log.lines().filter(|line| line.contains(told)).count();
    assert!((1..=told_at_most_since(begun)).contains(&lines), "{lines} lines: {log}");
    assert!(!log.contains("panicked"), "{log}");
    assert_equal_copies(world);
}
