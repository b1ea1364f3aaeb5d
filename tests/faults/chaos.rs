//! The faults: drawn from a seed, each with its end, each told as it happens.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use crate::{
    chance::Chance,
    lines::{Line, Mode},
    processes::Role,
    services::Part,
    world::{DiskOf, World, now},
};

/// What a fault befalls; nothing is befallen twice at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Process(&'static str),
    Part(Part),
    Line(Line),
    Disk(DiskOf),
}

impl Target {
    /// Whether one fault at each would be told as one: nothing starts on a disk that is full.
    fn meets(self, other: Self) -> bool {
        let part = |target| match target {
            Self::Part(part) | Self::Disk(DiskOf::Part(part)) => Some(part),
            Self::Process(_) | Self::Line(_) | Self::Disk(DiskOf::Edge(_)) => None,
        };
        self == other || part(self).is_some_and(|mine| part(other) == Some(mine))
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// `kill -9`; for PostgreSQL either the postmaster alone or all of it.
    Kill {
        whole: bool,
    },
    /// SIGTERM, and again when it has ended.
    Restart,
    Freeze,
    Cut(Mode),
    Fill,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    target: Target,
    kind: Kind,
    lasts: Duration,
}

impl Fault {
    fn name(&self) -> String {
        let what = match self.kind {
            Kind::Kill { .. } => "kill -9",
            Kind::Restart => "restart",
            Kind::Freeze => "freeze",
            Kind::Cut(Mode::Reset) => "reset",
            Kind::Cut(Mode::Silent) => "silence",
            Kind::Cut(Mode::Answerless) => "no answers",
            Kind::Cut(Mode::HalfOpen) => "half open",
            Kind::Cut(Mode::Slow(_)) => "slow",
            Kind::Cut(Mode::Whole) => "whole",
            Kind::Fill => "disk full",
        };
        match self.target {
            Target::Process(name) => format!("{what} {}", &name[..name.len() - 2]),
            Target::Part(part) => format!("{what} {}", part.name()),
            Target::Line((name, part)) => format!("{what} {} to {}", &name[..name.len() - 2], part.name()),
            Target::Disk(DiskOf::Edge(_)) => format!("{what} edge"),
            Target::Disk(DiskOf::Part(part)) => format!("{what} {}", part.name()),
        }
    }
}

/// When something was not as it should be, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    pub from: i64,
    pub to: i64,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub by_name: BTreeMap<String, u32>,
    /// When an edge stood still.
    pub frozen: Vec<(&'static str, Trouble)>,
    /// When an edge's disk was full.
    pub full: Vec<(&'static str, Trouble)>,
    /// What did not go as it has to.
    pub wrong: Vec<String>,
}

impl Faults {
    pub fn count(&self) -> u32 {
        self.by_name.values().sum()
    }
}

pub struct Chaos {
    world: Arc<World>,
    chance: Chance,
    begun: Instant,
    faults: Arc<Mutex<Faults>>,
}

/// At most so many faults at once.
const TOGETHER: usize = 2;

impl Chaos {
    pub fn new(world: Arc<World>, chance: Chance) -> Self {
        Self { world, chance, begun: Instant::now(), faults: Arc::default() }
    }

    /// So many faults, one after the other or two at once, until the last one has healed.
    pub async fn run(mut self, faults: u32) -> Faults {
        let mut under_way: JoinSet<Target> = JoinSet::new();
        let mut busy: Vec<Target> = Vec::new();
        for number in 1..=faults {
            let alone = self.chance.percent(50);
            while under_way.len() >= if alone { 1 } else { TOGETHER } {
                let healed = under_way.join_next().await.unwrap().unwrap();
                busy.retain(|target| *target != healed);
            }
            sleep(self.chance.ms(50, 600)).await;
            let fault = loop {
                let fault = self.draw();
                if !busy.iter().any(|target| target.meets(fault.target)) {
                    break fault;
                }
            };
            busy.push(fault.target);
            *self.faults.lock().unwrap().by_name.entry(fault.name()).or_default() += 1;
            let blow = Blow { world: Arc::clone(&self.world), faults: Arc::clone(&self.faults) };
            let begun = self.begun;
            let tell =
                move |text: String| println!("{:8.2} s  {number:3}  {text}", begun.elapsed().as_secs_f32());
            tell(format!("{:?}, {:?}, {} ms", fault.target, fault.kind, fault.lasts.as_millis()));
            under_way.spawn(async move {
                blow.strike(fault).await;
                tell("is over".to_owned());
                fault.target
            });
        }
        under_way.join_all().await;
        std::mem::take(&mut self.faults.lock().unwrap())
    }

    fn draw(&mut self) -> Fault {
        let chance = &mut self.chance;
        let lasts = match chance.below(20) {
            // Beyond Kafka's session timeout, and every time limit of an edge.
            0 => chance.ms(6_500, 9_000),
            1..=3 => chance.ms(1_500, 4_000),
            _ => chance.ms(100, 1_500),
        };
        let edge = ["edge-a", "edge-b"][chance.below(2)];
        let settle = ["settle-a", "settle-b"][chance.below(2)];
        let process = match chance.below(5) {
            0 | 1 => edge,
            2 | 3 => settle,
            _ => ["api-a", "api-b"][chance.below(2)],
        };
        let part = *chance.pick(&[Part::Kafka, Part::Kafka, Part::Redis, Part::Postgres, Part::Postgres]);
        let whole = chance.percent(50);
        match chance.below(20) {
            0..=3 => Fault { target: Target::Process(process), kind: Kind::Kill { whole }, lasts },
            4..=5 => Fault { target: Target::Process(process), kind: Kind::Restart, lasts },
            6..=7 => Fault { target: Target::Process(process), kind: Kind::Freeze, lasts },
            8..=9 => Fault { target: Target::Part(part), kind: Kind::Kill { whole }, lasts },
            10 => Fault { target: Target::Part(part), kind: Kind::Restart, lasts },
            11..=12 => Fault { target: Target::Part(part), kind: Kind::Freeze, lasts },
            13..=17 => {
                let slow = Mode::Slow(chance.ms(20, 400));
                let modes = [Mode::Reset, Mode::Silent, Mode::Answerless, Mode::HalfOpen, slow];
                let line = *chance.pick(&self.world.lines.all());
                Fault { target: Target::Line(line), kind: Kind::Cut(*chance.pick(&modes)), lasts }
            }
            _ if self.world.disks.is_empty() => {
                Fault { target: Target::Process(edge), kind: Kind::Kill { whole }, lasts }
            }
            _ => {
                let (of, _) =
                    *chance.pick(&self.world.disks.iter().map(|(of, _)| (*of, ())).collect::<Vec<_>>());
                Fault { target: Target::Disk(of), kind: Kind::Fill, lasts }
            }
        }
    }
}

/// One fault on its way.
struct Blow {
    world: Arc<World>,
    faults: Arc<Mutex<Faults>>,
}

impl Blow {
    fn wrong(&self, what: String) {
        self.faults.lock().unwrap().wrong.push(what);
    }

    async fn strike(&self, fault: Fault) {
        match fault.target {
            Target::Process(name) => self.strike_process(name, fault).await,
            Target::Part(part) => self.strike_part(part, fault).await,
            Target::Line(line) => {
                if let Kind::Cut(mode) = fault.kind {
                    self.world.lines.set(line, mode);
                    sleep(fault.lasts).await;
                    self.world.lines.set(line, Mode::Whole);
                }
            }
            Target::Disk(of) => self.fill(of, fault.lasts).await,
        }
    }

    async fn strike_process(&self, name: &'static str, fault: Fault) {
        let process = self.world.process(name);
        match fault.kind {
            Kind::Kill { .. } => {
                process.kill();
                sleep(fault.lasts).await;
                process.start();
            }
            Kind::Restart => {
                match process.stop().await {
                    Ok(0) => {}
                    Ok(code) => self.wrong(format!("{name} ended with {code} when told to stop")),
                    Err(why) => self.wrong(why),
                }
                process.start();
            }
            Kind::Freeze => {
                let from = now();
                process.freeze();
                sleep(fault.lasts).await;
                process.thaw();
                if process.role == Role::Edge {
                    self.faults.lock().unwrap().frozen.push((name, Trouble { from, to: now() }));
                }
            }
            Kind::Cut(_) | Kind::Fill => {}
        }
    }

    async fn strike_part(&self, part: Part, fault: Fault) {
        let services = Arc::clone(&self.world.services);
        match fault.kind {
            Kind::Kill { whole } => services.kill(part, whole),
            Kind::Restart => {
                let services = Arc::clone(&services);
                if let Err(why) = spawn_blocking(move || services.stop(part)).await.unwrap() {
                    self.wrong(why);
                }
            }
            Kind::Freeze => services.freeze(part),
            Kind::Cut(_) | Kind::Fill => {}
        }
        sleep(fault.lasts).await;
        services.thaw(part);
        self.bring_back(part).await;
    }

    async fn bring_back(&self, part: Part) {
        let services = Arc::clone(&self.world.services);
        if let Err(why) = spawn_blocking(move || services.bring_back(part)).await.unwrap() {
            self.wrong(why);
        }
    }

    async fn fill(&self, of: DiskOf, lasts: Duration) {
        let (_, disk) = self.world.disks.iter().find(|(other, _)| *other == of).unwrap();
        let from = now();
        disk.fill();
        sleep(lasts).await;
        disk.free();
        match of {
            DiskOf::Edge(name) => {
                self.faults.lock().unwrap().full.push((name, Trouble { from, to: now() }));
            }
            DiskOf::Part(part) => {
                // A broker gives up for good, and takes its time.
                if part == Part::Kafka {
                    self.world.services.kill(part, true);
                }
                self.bring_back(part).await;
            }
        }
    }
}
