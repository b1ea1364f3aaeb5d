//! How a customer stands (MONEY 6).

use super::reason::{CustomerStatus, CustomerTrack};

/// What decides about a customer's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomerState {
    pub track: CustomerTrack,
    /// It has had a conversion with an amount above 0.
    pub moved_on: bool,
    pub canceled: bool,
    /// Its conversions that count towards the `recurring_cap`.
    pub counted: i64,
}

impl CustomerState {
    /// The status, where `recurring_cap` is the one now in force. A canceled customer gets back what it would have had.
    pub fn status(self, recurring_cap: Option<u32>) -> CustomerStatus {
        if self.canceled {
            return CustomerStatus::Canceled;
        }
        if recurring_cap.is_some_and(|cap| self.counted >= i64::from(cap)) {
            return CustomerStatus::Capped;
        }
        match (self.track, self.moved_on) {
            (CustomerTrack::Trial, false) => CustomerStatus::Trial,
            (CustomerTrack::Trial, true) => CustomerStatus::Paying,
            (CustomerTrack::Lead, false) => CustomerStatus::Lead,
            (CustomerTrack::Lead, true) => CustomerStatus::Won,
            (CustomerTrack::New, false) => CustomerStatus::New,
            (CustomerTrack::New, true) => CustomerStatus::Active,
        }
    }
}

impl CustomerStatus {
    /// The track and whether it has moved on, of a status that says nothing of caps and cancellations.
    pub const fn place(self) -> Option<(CustomerTrack, bool)> {
        match self {
            Self::Trial => Some((CustomerTrack::Trial, false)),
            Self::Paying => Some((CustomerTrack::Trial, true)),
            Self::Lead => Some((CustomerTrack::Lead, false)),
            Self::Won => Some((CustomerTrack::Lead, true)),
            Self::New => Some((CustomerTrack::New, false)),
            Self::Active => Some((CustomerTrack::New, true)),
            Self::Capped | Self::Canceled => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: CustomerState =
        CustomerState { track: CustomerTrack::New, moved_on: false, canceled: false, counted: 0 };

    #[test]
    fn each_track_moves_on_once() {
        let table = [
            (CustomerTrack::Trial, CustomerStatus::Trial, CustomerStatus::Paying),
            (CustomerTrack::Lead, CustomerStatus::Lead, CustomerStatus::Won),
            (CustomerTrack::New, CustomerStatus::New, CustomerStatus::Active),
        ];
        assert_eq!(table.map(|(track, ..)| track).as_slice(), CustomerTrack::ALL);
        for (track, before, after) in table {
            let customer = CustomerState { track, ..NEW };
            assert_eq!(customer.status(None), before);
            assert_eq!(CustomerState { moved_on: true, ..customer }.status(None), after);
        }
    }

    #[test]
    fn a_cap_is_reached_not_crossed() {
        let customer = CustomerState { moved_on: true, counted: 2, ..NEW };
        assert_eq!(customer.status(Some(3)), CustomerStatus::Active);
        assert_eq!(customer.status(Some(2)), CustomerStatus::Capped);
        assert_eq!(customer.status(Some(1)), CustomerStatus::Capped);
        assert_eq!(NEW.status(Some(0)), CustomerStatus::Capped);
    }

    #[test]
    fn canceled_goes_before_all_and_takes_nothing_away() {
        let customer = CustomerState { moved_on: true, counted: 2, canceled: true, ..NEW };
        assert_eq!(customer.status(Some(2)), CustomerStatus::Canceled);
        let back = CustomerState { canceled: false, ..customer };
        assert_eq!(
            (back.status(Some(2)), back.status(None)),
            (CustomerStatus::Capped, CustomerStatus::Active)
        );
    }

    #[test]
    fn a_place_reads_back() {
        for status in CustomerStatus::ALL {
            let Some((track, moved_on)) = status.place() else { continue };
            assert_eq!(CustomerState { track, moved_on, ..NEW }.status(None), *status);
        }
        assert_eq!(CustomerStatus::ALL.iter().filter(|status| status.place().is_none()).count(), 2);
    }
}
