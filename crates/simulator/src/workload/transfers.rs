//! Transfers between accounts: two updates in one command, so that no state, however old, shows a sum other than the first.

use std::collections::BTreeMap;

use bson::{RawDocumentBuf, doc};
use state_machine::plan::StatementOutcome;
use state_machine::{Command, Operation, Snapshot, Statement, WriteCommand};

use super::documents::{documents, namespace, number, raw, read, update};
use super::{Activity, Answer, Change, Job, Request};
use crate::history::Outcome;
use crate::random::Random;

const OPENING_BALANCE: i64 = 1_000;

pub(super) struct Transfers {
    accounts: u64,
    jobs: u64,
    running: BTreeMap<u64, Doing>,
    outcomes: [usize; 3],
    /// The balance that the transfers acknowledged so far make.
    balances: Vec<i64>,
    /// A transfer that may or may not have happened makes balances uncertain.
    uncertain: bool,
    closed: Option<Vec<i64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Transfer { from: usize, to: usize, amount: i64 },
    Read,
    ClosingRead,
}

impl Transfers {
    pub(super) fn new(random: &mut Random) -> Transfers {
        let accounts = random.within(2..8);
        Transfers {
            accounts,
            jobs: 0,
            running: BTreeMap::new(),
            outcomes: [0; 3],
            balances: vec![OPENING_BALANCE; accounts as usize],
            uncertain: false,
            closed: None,
        }
    }

    fn job(&mut self, doing: Doing, request: Request) -> Job {
        self.jobs += 1;
        self.running.insert(self.jobs, doing);
        Job {
            number: self.jobs,
            request,
            stamped: matches!(doing, Doing::Transfer { .. }),
        }
    }

    fn balances(&self, documents: &[RawDocumentBuf]) -> Result<Vec<i64>, String> {
        let balances = conserved(documents)?;
        match balances.len() as u64 == self.accounts {
            true => Ok(balances),
            false => Err(format!(
                "{} accounts are there: {balances:?}",
                self.accounts
            )),
        }
    }
}

/// The balances, whose sum must be that of the opening.
fn conserved(documents: &[RawDocumentBuf]) -> Result<Vec<i64>, String> {
    let balances: Vec<i64> = documents
        .iter()
        .map(|document| number(document, "balance"))
        .collect::<Result<_, _>>()?;
    let (sum, expected) = (
        balances.iter().sum::<i64>(),
        OPENING_BALANCE * balances.len() as i64,
    );
    match sum == expected {
        true => Ok(balances),
        false => Err(format!(
            "the balances {balances:?} add up to {sum}, not {expected}"
        )),
    }
}

pub(super) fn check_state(snapshot: &Snapshot) -> Result<(), String> {
    let documents = super::all_documents(snapshot, &namespace("accounts"))?;
    conserved(&documents).map(drop)
}

impl Activity for Transfers {
    fn name(&self) -> &'static str {
        "transfers"
    }

    fn setup(&mut self) -> Vec<Request> {
        // Repeating it changes nothing: the accounts are there. One command, so they appear together.
        let statements = (0..self.accounts as i32).map(|account| Statement {
            statement_id: account,
            operation: Operation::Insert {
                document: raw(&doc! { "_id": account, "balance": OPENING_BALANCE }),
            },
        });
        vec![Request::Catalog(Command::Write(WriteCommand {
            namespace: namespace("accounts"),
            session: None,
            ordered: true,
            now_ms: 0,
            terms: Default::default(),
            statements: statements.collect(),
        }))]
    }

    fn next(&mut self, _: u32, random: &mut Random, _: u64) -> Option<Job> {
        let namespace = namespace("accounts");
        if random.chance(1, 3) {
            return Some(self.job(Doing::Read, read(&namespace, &doc! {})));
        }
        let from = random.index(self.accounts as usize);
        let to = (from + 1 + random.index(self.accounts as usize - 1)) % self.accounts as usize;
        let amount = random.within(1..100) as i64;
        let add = |account: usize, amount: i64| {
            let change = doc! { "$inc": { "balance": amount } };
            update(&doc! { "_id": account as i32 }, &change, false)
        };
        let change = Change::Update(vec![add(from, -amount), add(to, amount)]);
        let request = Request::Write { namespace, change };
        Some(self.job(Doing::Transfer { from, to, amount }, request))
    }

    fn completed(&mut self, job: u64, outcome: Outcome<Answer>, _: u64) -> Result<(), String> {
        let doing = self.running.remove(&job).expect("a job ends once");
        let answer = match outcome {
            Outcome::Done(answer) => answer,
            Outcome::Failed => {
                self.outcomes[1] += 1;
                return Ok(());
            }
            Outcome::Unknown => {
                self.outcomes[2] += 1;
                self.uncertain |= matches!(doing, Doing::Transfer { .. });
                return Ok(());
            }
        };
        self.outcomes[0] += 1;
        match (doing, answer) {
            (Doing::Transfer { from, to, amount }, Answer::Written(outcome)) => {
                let changed = |it: &StatementOutcome| {
                    matches!(it, StatementOutcome::Updated { matched: 1, .. })
                };
                if outcome.statements.len() != 2 || !outcome.statements.iter().all(changed) {
                    return Err(format!("a transfer ended as {outcome:?}"));
                }
                self.balances[from] -= amount;
                self.balances[to] += amount;
                Ok(())
            }
            (Doing::Read | Doing::ClosingRead, answer) => {
                let balances = self.balances(&documents(answer)?)?;
                if doing == Doing::ClosingRead {
                    self.closed = Some(balances);
                }
                Ok(())
            }
            (doing, answer) => Err(format!("{doing:?} was answered by {answer:?}")),
        }
    }

    fn closing(&mut self, _: u64) -> Vec<Job> {
        let all = read(&namespace("accounts"), &doc! {});
        vec![self.job(Doing::ClosingRead, all)]
    }

    fn judge(&self) -> Result<(), String> {
        match &self.closed {
            Some(closed) if !self.uncertain && *closed != self.balances => Err(format!(
                "the balances are {closed:?}, but the acknowledged transfers make {:?}",
                self.balances
            )),
            _ => Ok(()),
        }
    }

    fn outcomes(&self) -> [usize; 3] {
        self.outcomes
    }
}
