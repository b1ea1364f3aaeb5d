//! The closed sets of words that say why something came out as it did.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $code:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$case_doc])* #[serde(rename = $code)] $case,)+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$case,)+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$case => $code,)+ }
            }

            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|case| case.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}

codes! {
    /// Why a conversion or a refund was not taken. It claims nothing: corrected, it may be sent again.
    Rejection {
        Unattributed = "unattributed",
        ProgramMismatch = "program_mismatch",
        UnknownProgram = "unknown_program",
        AffiliateNotApproved = "affiliate_not_approved",
        AffiliateSuspended = "affiliate_suspended",
        OccurredInFuture = "occurred_in_future",
        OccurredTooLongAgo = "occurred_too_long_ago",
        UnknownCommissionType = "unknown_commission_type",
        UnknownCurrency = "unknown_currency",
        AmountInvalid = "amount_invalid",
        AmountNegative = "amount_negative",
        AmountTooLarge = "amount_too_large",
        IdempotencyConflict = "idempotency_conflict",
        RefundExceedsConversion = "refund_exceeds_conversion",
        RefundOfNothing = "refund_of_nothing",
        RefundCurrencyMismatch = "refund_currency_mismatch",
        ConversionDeleted = "conversion_deleted",
        ConversionMissing = "conversion_missing",
        /// The event itself cannot be read or applied; the detail says why.
        Malformed = "malformed",
    }

    /// Why an input was passed over, or what was changed on the way (MONEY 1, 2).
    Warning {
        UnknownCoupon = "unknown_coupon",
        CouponExpired = "coupon_expired",
        UnknownReferralCode = "unknown_referral_code",
        UnknownClick = "unknown_click",
        /// The token's tag does not match: forged or altered.
        ClickForged = "click_forged",
        ClickExpired = "click_expired",
        ClickInvalidTraffic = "click_invalid_traffic",
        ConversionBeforeClick = "conversion_before_click",
        UnknownAssetSource = "unknown_asset_source",
        UnknownTrackingId = "unknown_tracking_id",
        AmountRounded = "amount_rounded",
    }

    /// What a pending event waits for.
    Waits {
        ClickNotStored = "click_not_stored",
        TokenKeyUnknown = "token_key_unknown",
        /// A refund whose conversion has not settled.
        ConversionMissing = "conversion_missing",
        /// There is no exchange rate for the conversion's day.
        RateMissing = "rate_missing",
    }

    /// The inputs of attribution, in the order in which they are tried (MONEY 2).
    Input {
        CustomerId = "customer_id",
        Coupon = "coupon",
        ReferralCode = "referral_code",
        Click = "click_id",
        AssetSource = "asset_source",
        TrackingId = "tracking_id",
    }

    /// What became of one event. Every event ends in exactly one.
    Outcome {
        /// A click is in the store.
        Stored = "stored",
        /// A click or conversion with a number that was seen before.
        DuplicateDelivery = "duplicate_delivery",
        /// A click older than what the store keeps.
        Late = "late",
        Settled = "settled",
        /// A conversion that was taken before.
        Duplicate = "duplicate",
        Pending = "pending",
        Rejected = "rejected",
        /// It waits for somebody to accept it.
        Held = "held",
        /// A held conversion that somebody declined, or that the authenticated one replaced.
        Declined = "declined",
        /// A marker of the edge itself: its last number before a clean stop.
        Marker = "marker",
    }

    /// What is reported.
    ConversionKind {
        Lead = "lead",
        Appointment = "appointment",
        Conversion = "conversion",
    }

    /// The review of a commission line (MONEY 7).
    LineStatus {
        Pending = "pending",
        Approved = "approved",
        Disapproved = "disapproved",
    }

    /// How an affiliate stands in a program.
    Standing {
        Pending = "pending",
        Approved = "approved",
        Disapproved = "disapproved",
        Suspended = "suspended",
    }

    /// Why a line earns nothing (MONEY 4), in the order in which they are looked for; then those of uplines and
    /// corrections.
    Stop {
        CustomerCanceled = "customer_canceled",
        Recurrence = "recurrence",
        RecurringPeriod = "recurring_period",
        RecurringCap = "recurring_cap",
        Capped = "capped",
        AffiliateSuspended = "affiliate_suspended",
        AffiliateNotApproved = "affiliate_not_approved",
        /// A recalculation has no such line any more.
        Recalculated = "recalculated",
    }

    /// The kinds of commission lines.
    LineKind {
        Regular = "regular",
        /// An upline's.
        Level = "level",
        Bonus = "bonus",
        /// Made by hand.
        Adjustment = "adjustment",
    }

    /// Where a customer begins (MONEY 6).
    CustomerTrack {
        Trial = "trial",
        Lead = "lead",
        New = "new",
    }

    /// How a customer stands (MONEY 6).
    CustomerStatus {
        Trial = "trial",
        Paying = "paying",
        Lead = "lead",
        Won = "won",
        New = "new",
        Active = "active",
        /// It has earned as often as the program's `recurring_cap` allows.
        Capped = "capped",
        Canceled = "canceled",
    }

    /// The accounts of the double entry (MONEY 7).
    LedgerAccount {
        Expense = "expense",
        Cash = "cash",
        Accrued = "accrued",
        Payable = "payable",
        Reserved = "reserved",
    }

    /// What posts to the ledger: the rows of the table in MONEY 7.
    LedgerEvent {
        Earned = "earned",
        /// A disapproved line counts again.
        Reopened = "reopened",
        Approved = "approved",
        BackToPending = "back_to_pending",
        Increased = "increased",
        Reduced = "reduced",
        Refunded = "refunded",
        Disapproved = "disapproved",
        PaymentRecorded = "payment_recorded",
        PaymentCancelled = "payment_cancelled",
        PayoutCreated = "payout_created",
        PayoutPaid = "payout_paid",
        /// A payout failed or was cancelled.
        PayoutReturned = "payout_returned",
    }

    /// What is in the table of payments.
    PaymentKind {
        /// Money that was sent.
        Payment = "payment",
        /// Money that is to be sent, set aside until it was.
        Payout = "payout",
    }

    /// How far a payment or a payout has come (MONEY 10).
    PaymentStatus {
        /// A payment that stands.
        Recorded = "recorded",
        /// A payout whose money is set aside.
        Created = "created",
        /// A payout that was sent.
        Paid = "paid",
        /// A payout that could not be sent.
        Failed = "failed",
        Cancelled = "cancelled",
    }
}
