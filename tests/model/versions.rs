//! What was in force when (MONEY 1).

use waypost::domain::{
    price::{OverrideRule, Target},
    program::{CommissionType, ProgramSettings},
    reason::{Rejection, Standing},
};

use super::{Ms, state::*};

/// The latest not after `at`; on a tie the one written later.
pub fn in_force<T>(versions: &[(Ms, T)], at: Ms) -> Option<&T> {
    let latest = versions.iter().map(|(from, _)| *from).filter(|from| *from <= at).max()?;
    versions.iter().rev().find(|(from, _)| *from == latest).map(|(_, version)| version)
}

fn earliest<'a, T>(versions: impl Iterator<Item = &'a (Ms, T)>) -> Option<&'a T> {
    let mut first: Option<&(Ms, T)> = None;
    for version in versions {
        if first.is_none_or(|first| version.0 <= first.0) {
            first = Some(version);
        }
    }
    first.map(|(_, version)| version)
}

/// The settings of a program, and whether it has any version by then: without, there are no levels and no caps.
pub fn settings(program: &Program, at: Ms) -> (&ProgramSettings, bool) {
    match in_force(&program.versions, at) {
        Some(settings) => (settings, true),
        None => (earliest(program.versions.iter()).unwrap(), false),
    }
}

pub fn commission_type<'a>(program: &'a Program, name: &str, at: Ms) -> Option<&'a CommissionType> {
    let of =
        |settings: &'a ProgramSettings| settings.commission_types.iter().find(|kind| kind.identifier == name);
    if let Some(found) = of(settings(program, at).0) {
        return Some(found);
    }
    let known = || program.versions.iter().filter(|(_, settings)| of(settings).is_some());
    if known().any(|(from, _)| *from <= at) {
        return None;
    }
    earliest(known()).and_then(of)
}

impl Model {
    pub fn standing(&self, program: i64, affiliate: i64, at: Ms) -> Option<Standing> {
        self.standings.get(&(program, affiliate)).and_then(|history| in_force(history, at)).copied()
    }

    pub fn suspended_everywhere(&self, affiliate: i64, at: Ms) -> bool {
        self.affiliates.get(&affiliate).and_then(|who| in_force(&who.suspended, at)) == Some(&true)
    }

    pub fn suspended(&self, program: i64, affiliate: i64, at: Ms) -> bool {
        self.suspended_everywhere(affiliate, at)
            || self.standing(program, affiliate, at) == Some(Standing::Suspended)
    }

    /// Whether they may earn in the program.
    pub fn admit(&self, program: i64, affiliate: i64, at: Ms) -> Result<(), Rejection> {
        match self.standing(program, affiliate, at) {
            Some(Standing::Approved) if self.suspended_everywhere(affiliate, at) => {
                Err(Rejection::AffiliateSuspended)
            }
            Some(Standing::Approved) => Ok(()),
            Some(Standing::Suspended) => Err(Rejection::AffiliateSuspended),
            _ => Err(Rejection::AffiliateNotApproved),
        }
    }

    pub fn parent(&self, affiliate: i64, at: Ms) -> Option<i64> {
        self.affiliates.get(&affiliate).and_then(|who| in_force(&who.parents, at)).copied().flatten()
    }

    /// The affiliate's own override, else that of their group.
    pub fn override_of(
        &self,
        program: i64,
        affiliate: i64,
        target: &Target,
        happened: Ms,
        rules_at: Ms,
    ) -> Option<&OverrideRule> {
        let find = |whose: Holder| {
            let found = self
                .overrides
                .iter()
                .find(|each| each.program == program && each.whose == whose && each.target == *target)?;
            in_force(&found.versions, rules_at)?.as_ref()
        };
        // The group is that of the conversion's time, whichever rules are asked.
        let group = self
            .affiliates
            .get(&affiliate)
            .and_then(|who| in_force(&who.groups, happened))
            .copied()
            .flatten();
        find(Holder::Affiliate(affiliate)).or_else(|| find(Holder::Group(group?)))
    }
}
