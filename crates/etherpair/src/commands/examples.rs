//! What `--help` shows after the options of the commands for a running daemon and of `config`: how each is used. It decides
//! nothing; a test in `main` looks that every command has examples, and that each of them is understood.

pub(crate) const STATUS: &str = "\
Examples:
  etherpair status
      How this node, its peer, the arbiter, the interfaces and each volume stand.
  etherpair status --watch
      The same every second: how far a resync or a verify has come, and how long it still takes.
  etherpair status --json | jq .volumes[].replication
      One word for each volume; docs/operating/pair.md explains all fields.

Exit codes: 85 no daemon answers; others: docs/exit-codes.md.";

pub(crate) const EVENTS: &str = "\
Examples:
  etherpair events
      A line of JSON for each thing that happens from now on, until Control-C or until the daemon ends.
  etherpair events --socket /run/pair2.sock | jq -r .text
      Those of another daemon on this machine, in words only.

docs/operating/admin-socket.md lists the events.";

pub(crate) const LEAVE: &str = "\
Examples:
  etherpair leave
      Before maintenance of this node: the peer goes on alone, and initiators do not notice. Refused if it could not.

`etherpair join` takes it back.";

pub(crate) const JOIN: &str = "\
Examples:
  etherpair join
      After maintenance: what was written meanwhile is copied to this node, which serves again.";

pub(crate) const PROMOTE: &str = "\
Examples:
  etherpair promote 7.1 --force
      The other node is switched off and the arbiter cannot be asked: serve e7.1 here, at the risk that it tells.
  etherpair promote 7.1 --force --inconsistent
      The other node is lost for good, and this copy was not whole: serve what is left of e7.1, old blocks among it.";

pub(crate) const RELOAD: &str = "\
Examples:
  etherpair reload
      After a change of node.toml or of a file in the volumes directory: have what can change do so, without a stop.

What cannot change while the daemon runs refuses the whole. docs/operating/pair.md says what can.";

pub(crate) const VOLUME: &str = "\
Examples:
  etherpair volume create 7.1 --size 20G
      A new volume at both nodes; `etherpair volume create --help` and its neighbours have more examples.
  etherpair volume list
      The volumes of this node.";

pub(crate) const CREATE: &str = "\
Examples:
  etherpair volume create 7.1 --size 20G
      Files in the volumes directories of both nodes.
  etherpair volume create 7.2 --data /dev/vg0/disk --peer-data /dev/vg0/disk --overwrite-peer
      What is on this node's device is taken as it is, served at once, and copied over the peer's.
  etherpair volume create 7.3 --data /srv/old.img --metadata /srv/old.meta
      An image that was served by something else until now.";

pub(crate) const RESIZE: &str = "\
Examples:
  etherpair volume resize 7.1 --size 40G
      Files grow on both nodes; devices must have been made larger on both before.";

pub(crate) const REMOVE: &str = "\
Examples:
  etherpair volume remove 7.1
      Initiators are answered no more; the data stays where it is, and the metadata is put aside.
  etherpair volume remove 7.1 --here-only
      From this node only: the peer cannot be reached, or is to keep it.
  etherpair volume remove 7.1 --delete-data --yes
      For good, and without a question.";

pub(crate) const REPLACE: &str = "\
Examples:
  etherpair volume replace 7.1
      On the node whose disk was replaced: its copy is made anew from the peer's.
  etherpair volume replace --all
      On a new machine in the place of a lost one.
  etherpair volume replace 7.1 --data /dev/sdc --metadata /var/lib/etherpair/e7.1.meta
      The same on a node that does not know of the volume any more.";

pub(crate) const LIST: &str = "\
Examples:
  etherpair volume list
      Address, size and data of each volume; and of each that is configured and not served, why.";

pub(crate) const VERIFY: &str = "\
Examples:
  etherpair volume verify 7.1
      Compare both copies while they are in use; `etherpair status` tells how far it is, `etherpair events` what differs.
  etherpair volume verify 7.1 --fix
      And copy what differs from this node to the other: be sure that it is not this one that is wrong.";

pub(crate) const REGISTER: &str = "\
Examples:
  etherpair volume register --all
      After the arbiter was replaced, while both nodes are connected.
  etherpair volume register 7.1
      After a removed volume was put back.";

pub(crate) const CONFIG: &str = "\
Examples:
  etherpair config check
      Whether /etc/etherpair/node.toml is good.
  etherpair config identity
      A name for a new pair.";

pub(crate) const CONFIG_CHECK: &str = "\
Examples:
  etherpair config check
      Everything that is wrong with /etc/etherpair/node.toml and the volumes directory.
  etherpair config check --witness -c /etc/etherpair/witness.toml
      The same of a witness.";

pub(crate) const CONFIG_IDENTITY: &str = "\
Examples:
  etherpair config identity
      32 digits for `pair` in the node.toml of both nodes.";
