//! The stream between the nodes ends in the middle of a message, at one byte after the other of what either node says: while they
//! greet each other, while they meet, and while they write.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Scope};

use lab::Namespace;
use lab::pair::Pair;

use crate::reload::edit;
use crate::world::{PATIENCE, World};
use crate::{assert_equal_copies, pair, under_load};

/// Where node 1 finds its peer now: on its own machine, somebody who passes on what is said and hangs up in the middle of it.
const ADDRESS: &str = "10.8.0.2:7999";

/// After how many bytes a connection ends, and of whose: those that node 1 says, or node 0.
#[derive(Clone, Copy, Debug)]
struct Cut {
    after: usize,
    of_node: usize,
}

/// Every byte around the ends of the first messages, then fewer and fewer.
fn cuts() -> Vec<Cut> {
    let first = (0..8).chain(60..70).chain(124..250).step_by(3);
    let later = (250..1500).step_by(83).chain((1500..12_000).step_by(1711));
    let after: Vec<usize> = first.chain(later).collect();
    [1, 0]
        .into_iter()
        .flat_map(|of_node| after.iter().map(move |after| Cut { after: *after, of_node }))
        .collect()
}

/// Passes on what is read from one end to the other, so much and no more; then both hang up.
fn pass_on(mut from: TcpStream, mut to: TcpStream, mut left: usize) {
    let mut bytes = [0; 4096];
    while left > 0 {
        let wanted = left.min(bytes.len());
        let Ok(read @ 1..) = from.read(&mut bytes[..wanted]) else { break };
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
        left -= read;
    }
    for end in [from, to] {
        // It may be closed already.
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Whoever stands between the nodes.
struct Between<'a> {
    host: &'a Namespace,
    listener: TcpListener,
    cuts: Vec<Cut>,
    /// Connections that were begun, each with the cut of its number; those after the last cut are passed on whole.
    begun: AtomicUsize,
    /// Their ends; none is taken any more when it is over.
    ends: Mutex<Option<Vec<TcpStream>>>,
}

impl<'a> Between<'a> {
    fn new(host: &'a Namespace, cuts: Vec<Cut>) -> Self {
        let listener = host.enter(|| TcpListener::bind(ADDRESS)).expect("an address of node 1's");
        Self { host, listener, cuts, begun: AtomicUsize::new(0), ends: Mutex::new(Some(Vec::new())) }
    }

    /// Takes one connection of node 1's after the other, until it is over.
    fn run<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        for one in self.listener.incoming().map_while(Result::ok) {
            // Node 0 may be gone.
            let Ok(zero) = self.host.enter(|| TcpStream::connect(Pair::peer_address(0, 0))) else { continue };
            let cut = self.cuts.get(self.begun.fetch_add(1, Ordering::SeqCst)).copied();
            let of_node =
                move |node| cut.filter(|cut| cut.of_node == node).map_or(usize::MAX, |cut| cut.after);
            let again = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
            let (one_again, zero_again) = (again(&one), again(&zero));
            let mut ends = self.ends.lock().expect("nobody panics holding it");
            let Some(ends) = ends.as_mut() else { return };
            ends.extend([again(&one), again(&zero)]);
            scope.spawn(move || pass_on(one, zero, of_node(1)));
            scope.spawn(move || pass_on(zero_again, one_again, of_node(0)));
        }
    }

    fn has_cut_all(&self) -> bool {
        self.begun.load(Ordering::SeqCst) > self.cuts.len()
    }
}

/// Ends what was begun when the test ends, however it does.
struct UntilHere<'a, 'b>(&'a Between<'b>);

impl Drop for UntilHere<'_, '_> {
    fn drop(&mut self) {
        let ends = self.0.ends.lock().expect("nobody panics holding it").take();
        for end in ends.into_iter().flatten() {
            // It may be closed already.
            let _ = end.shutdown(Shutdown::Both);
        }
        // Wakes the one that listens.
        let _ = self.0.host.enter(|| TcpStream::connect(ADDRESS));
    }
}

#[test]
fn a_stream_that_ends_at_any_byte_costs_nothing_but_time() {
    let world = World::new();
    let (_witness, mut nodes) = pair(&world);
    let between = Between::new(world.node(1), cuts());
    thread::scope(|scope| {
        let _until_here = UntilHere(&between);
        scope.spawn(|| between.run(scope));
        assert!(nodes[1].terminate(PATIENCE).expect("it ends").success());
        let addresses = [0, 1].map(|wire| format!("\"{}\"", Pair::peer_address(0, wire))).join(", ");
        edit(&world, 1, &addresses, &format!("\"{ADDRESS}\""));
        nodes[1] = world.start_node(1);
        under_load(&world, 15, || {
            let all = || Ok(between.has_cut_all().then_some(()));
            world.wait_for_pair("the last cut", PATIENCE, all).expect("it connects again and again");
        });
        world.wait_for_in_sync();
        assert_equal_copies(&world);
    });
    println!("{} connections", between.begun.load(Ordering::SeqCst));
}
