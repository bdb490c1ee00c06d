//! What is wrong when a node starts is told with file, line and key, whether the file says it or only the machine.

use std::fs;

use lab::{Output, Program};

use crate::reload::edit;
use crate::world::{PATIENCE, World};

/// A start that does not come about.
fn refused(world: &World) -> Output {
    let program = world.node(0).program(env!("CARGO_BIN_EXE_etherpair")).args(["serve", "-c"]);
    program.arg(world.configuration_file(0)).within(PATIENCE).output().expect("it ends")
}

/// The line of a key, as errors tell it.
fn place(world: &World, section: &str, key: &str) -> String {
    let path = world.configuration_file(0);
    let text = fs::read_to_string(&path).expect("a configuration");
    let begins = format!("{key} = ");
    let line = 1 + text.lines().position(|line| line.starts_with(&begins)).expect("the key");
    format!("{}:{line}: `{section}.{key}`: ", path.display())
}

#[test]
fn what_this_machine_does_not_have_is_told_with_the_line_that_names_it() {
    let world = World::new();
    let assert_refused = |section: &str, key: &str, code: i32, why: &str| {
        let output = refused(&world);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let line = format!("{}{why}", place(&world, section, key));
        assert!(output.stderr.contains(&line), "{line} in {}", output.stderr);
    };
    edit(&world, 0, "\"eth1\", \"eth2\"", "\"eth1\", \"eth9\"");
    assert_refused("storage", "interfaces", 20, "no interface eth9: this machine has eth0, eth1, eth2");
    edit(&world, 0, "\"eth9\"", "\"eth2\"");
    world.node(0).set_down("eth2").expect("an interface");
    assert_refused("storage", "interfaces", 21, "interface eth2 is down");
    world.node(0).set_up("eth2").expect("an interface");
    let ours = "listen = [\"10.8.0.1:8802\", \"10.8.1.1:8802\"]";
    edit(&world, 0, ours, "listen = [\"10.9.9.8:8802\"]");
    assert_refused("peer", "listen", 82, "cannot listen on 10.9.9.8:8802: ");
    edit(&world, 0, "listen = [\"10.9.9.8:8802\"]", ours);
    let _node = world.start_node(0);
}

#[test]
fn a_wrong_configuration_is_refused_by_check_and_by_serve_with_the_same_words() {
    let world = World::new();
    let check = || {
        let program = Program::new(env!("CARGO_BIN_EXE_etherpair")).args(["config", "check", "-c"]);
        program.arg(world.configuration_file(0)).within(PATIENCE).output().expect("it ends")
    };
    let good = check();
    assert!(good.status.success() && good.stdout.contains(": good; "), "{good:?}");
    edit(&world, 0, "node = 0\n", "node = 2\nresync = 1\n");
    let (checked, started) = (check(), refused(&world));
    let path = world.configuration_file(0);
    for part in ["2: `node`: must be a whole number from 0 to 1", "3: `resync`: there is no such key"] {
        assert!(checked.stderr.contains(&format!("{}:{part}", path.display())), "{part} in {checked:?}");
    }
    for output in [&checked, &started] {
        assert_eq!(output.status.code(), Some(81), "{output:?}");
        assert_eq!((output.stderr.as_str(), output.stdout.as_str()), (checked.stderr.as_str(), ""));
    }
    fs::remove_file(&path).expect("removed");
    assert_eq!(check().status.code(), Some(80));
}
