//! Hosts: what each asks of the volume, and by which initiator.
//!
//! A [`Client`] is a host. So many workers of it ask, wait for the answer, think for a while and ask again, what a
//! [`plan`] says, through a [`driver`]: that of Linux ([`linux`]) or our own ([`ours`]). All that is asked and answered goes
//! into the [`History`]; nothing is judged here. A host that crashes forgets everything but how far it has counted its
//! writes, which is how the oracle tells them apart, and comes back with the same addresses.

pub mod driver;
pub mod linux;
pub mod ours;
pub mod plan;

use std::collections::{BTreeMap, VecDeque};

use aoe::MacAddress;
use block::{Duration, Instant};

use crate::history::{Action, Fate, History, OperationId};
use crate::host::{Host, HostFrame};
use driver::{Driver, DriverOutput, Interface, RequestName};
use linux::{Linux, LinuxOptions};
use ours::{Ours, OursOptions};
use plan::{Ask, Plan, PlanOptions};

/// Which initiator a host has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DriverOptions {
    /// That of Linux.
    Linux(LinuxOptions),
    /// Ours. The seed changes with each restart.
    Ours(OursOptions),
}

/// How a host is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientOptions {
    /// Its number, which no other host has.
    pub initiator: u16,
    /// Its initiator.
    pub driver: DriverOptions,
    /// What it asks.
    pub plan: PlanOptions,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Requests that are open at a time, at most.
    pub workers: u16,
    /// Requests in all.
    pub requests: u32,
    /// How long it takes to come back after a crash. A host that comes back sooner than frames of its former life have
    /// left the network would hear their answers.
    pub restart: Duration,
}

/// A host. See the module's text.
#[derive(Debug)]
pub struct Client {
    options: ClientOptions,
    plan: Plan,
    /// None while it is down.
    driver: Option<Driver>,
    /// When to restart, while it is down.
    restart: Instant,
    restarts: u32,
    /// Since when each worker may ask, while it does not wait for an answer.
    idle: Vec<Option<Instant>>,
    open: BTreeMap<RequestName, (OperationId, Ask)>,
    asked: u32,
    failed: u32,
    frames: VecDeque<HostFrame>,
}

impl Client {
    /// A host that is started by its first timeout.
    ///
    /// # Panics
    /// If it has no interface or no workers.
    #[must_use]
    pub fn new(options: ClientOptions, seed: u64) -> Self {
        assert!(!options.interfaces.is_empty() && options.workers > 0, "a host that asks nothing of nobody");
        Self {
            plan: Plan::new(options.plan.clone(), options.initiator, seed),
            driver: None,
            restart: Instant::default(),
            restarts: 0,
            idle: vec![Some(Instant::default()); usize::from(options.workers)],
            open: BTreeMap::new(),
            asked: 0,
            failed: 0,
            frames: VecDeque::new(),
            options,
        }
    }

    /// Requests asked so far.
    #[must_use]
    pub const fn asked(&self) -> u32 {
        self.asked
    }

    fn start(&mut self, now: Instant) {
        let interfaces = &self.options.interfaces;
        self.driver = Some(match self.options.driver {
            DriverOptions::Linux(options) => Driver::Linux(Box::new(Linux::new(now, options, interfaces))),
            DriverOptions::Ours(options) => {
                let seed = options.seed.wrapping_add(self.restarts << 16);
                Driver::Ours(Box::new(Ours::new(now, OursOptions { seed, ..options }, interfaces)))
            }
        });
        self.restarts += 1;
    }

    /// Takes over what the initiator says, and lets workers ask, until neither has more.
    fn run(&mut self, now: Instant, history: &mut History) {
        loop {
            let Some(driver) = &mut self.driver else { return };
            if let Some(output) = driver.poll_output() {
                self.take(now, output, history);
            } else if !self.ask(now, history) {
                return;
            }
        }
    }

    fn take(&mut self, now: Instant, output: DriverOutput, history: &mut History) {
        match output {
            DriverOutput::Send(frame) => self.frames.push_back(frame),
            DriverOutput::Answered { request, part, values } => {
                let (operation, ask) = self.open[&request];
                match values {
                    Some(values) => history.read(now, operation, part, values),
                    None => history.written(now, operation, part),
                }
                if history.operation(operation).fate == Fate::Done {
                    if let Some(value) = ask.value {
                        self.plan.wrote(ask.range, value);
                    }
                    self.ended(now, request);
                }
            }
            DriverOutput::Failed { request } => {
                self.failed += 1;
                history.abandoned(self.open[&request].0);
                self.ended(now, request);
            }
        }
    }

    fn ended(&mut self, now: Instant, request: RequestName) {
        self.open.remove(&request);
        self.idle[request.0 as usize] = Some(now.after(self.plan.pause()));
    }

    /// Lets one worker ask, if one may.
    fn ask(&mut self, now: Instant, history: &mut History) -> bool {
        let Some(driver) = self.driver.as_mut().filter(|driver| driver.is_ready()) else { return false };
        if self.asked >= self.options.requests {
            return false;
        }
        let Some(worker) = self.idle.iter().position(|since| since.is_some_and(|since| since <= now)) else {
            return false;
        };
        self.idle[worker] = None;
        self.asked += 1;
        let request = RequestName(u32::try_from(worker).expect("few workers"));
        self.plan.grow(driver.sectors());
        let ask = self.plan.ask();
        let sequenced = driver.is_sequenced();
        let action = match ask.value {
            Some(value) => Action::Write { value, sequenced },
            None if ask.is_flush() => Action::Flush,
            None => Action::Read,
        };
        let operation = history.call(now, self.options.initiator, action, ask.range);
        self.open.insert(request, (operation, ask));
        driver.submit(now, request, ask);
        true
    }
}

impl Host<History> for Client {
    fn mac(&self, port: u8) -> MacAddress {
        let found = self.options.interfaces.iter().find(|interface| interface.port == port);
        found.map(|interface| interface.mac).unwrap_or_default()
    }

    fn handle_frame(&mut self, now: Instant, port: u8, frame: &[u8], history: &mut History) {
        if let Some(driver) = &mut self.driver {
            driver.handle_frame(now, port, frame);
            self.run(now, history);
        }
    }

    fn handle_timeout(&mut self, now: Instant, history: &mut History) {
        match &mut self.driver {
            None if now >= self.restart => self.start(now),
            None => {}
            Some(driver) if driver.poll_timeout() <= now => driver.handle_timeout(now),
            Some(_) => {}
        }
        self.run(now, history);
    }

    fn poll_frame(&mut self) -> Option<HostFrame> {
        self.frames.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let Some(driver) = &self.driver else { return Some(self.restart) };
        let asking = driver.is_ready() && self.asked < self.options.requests;
        let next = self.idle.iter().flatten().min().copied().filter(|_| asking);
        let timeout = driver.poll_timeout();
        Some(next.map_or(timeout, |next| next.min(timeout)))
    }

    fn resends_after(&self) -> Duration {
        self.driver.as_ref().map_or(Duration::ZERO, Driver::resends_after)
    }

    fn finish(&mut self) {
        self.options.requests = self.asked;
    }

    fn ask_more(&mut self, requests: u32) {
        self.options.requests += requests;
    }

    fn open(&self) -> usize {
        self.open.len()
    }

    fn is_done(&self) -> bool {
        self.open.is_empty() && self.asked >= self.options.requests
    }

    fn failed(&self) -> u32 {
        self.failed
    }

    fn crash(&mut self, now: Instant, history: &mut History) {
        self.driver = None;
        self.frames.clear();
        self.restart = now.after(self.options.restart);
        for (operation, _) in std::mem::take(&mut self.open).into_values() {
            history.abandoned(operation);
        }
        self.idle.fill(Some(now));
    }
}

#[cfg(test)]
mod tests;
