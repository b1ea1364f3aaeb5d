use proptest::prelude::*;

use super::*;
use crate::domain::time::MS_PER_DAY;

const SHOP: ProgramId = ProgramId(1);
const BLOG: ProgramId = ProgramId(2);
const AT: Timestamp = Timestamp(1_000 * MS_PER_DAY);

fn candidate(program: ProgramId, affiliate: i64) -> Candidate {
    Candidate { program, affiliate: AffiliateId(affiliate), link: Some(LinkId(affiliate * 10)) }
}

fn nothing() -> Facts {
    Facts {
        occurred_at: AT,
        named_program: None,
        group: None,
        customers: Given::Absent,
        coupon: Given::Absent,
        referral_code: Given::Absent,
        click: ClickEvidence::Absent,
        asset_source: Given::Absent,
        tracking_id: Given::Absent,
        waited_out: false,
    }
}

fn coupon(candidate: Candidate) -> CouponFact {
    CouponFact { candidate, starts_at: None, ends_at: None }
}

/// A click one day before the conversion, in a window of 30.
fn click(candidate: Candidate) -> ClickFact {
    ClickFact {
        click_id: Uuid::from_u128(candidate.affiliate.0.unsigned_abs().into()),
        clicked_at: AT.plus_days(-1),
        attributable: true,
        review: false,
        candidate,
        cookie_time_days: 30,
        any_age: false,
    }
}

fn passed(input: Input, warning: Warning) -> PassedOver {
    PassedOver { input, warning }
}

fn resolved(facts: &Facts) -> Resolved {
    match attribute(facts) {
        Attribution::Resolved(resolved) => resolved,
        other => panic!("{other:?}"),
    }
}

/// The input that decided and its affiliate.
fn by(facts: &Facts) -> (Input, i64) {
    let resolved = resolved(facts);
    (resolved.input, resolved.candidate.affiliate.0)
}

/// What the conversion is rejected with when only this click comes with it.
fn refused(click: ClickFact) -> Option<Warning> {
    let facts = Facts { click: ClickEvidence::Proven(click), ..nothing() };
    match attribute(&facts) {
        Attribution::Resolved(_) => None,
        Attribution::Rejected(Rejection::Unattributed, passed) => {
            assert_eq!(passed.len(), 1);
            assert_eq!(passed[0].input, Input::Click);
            Some(passed[0].warning)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn inputs_are_tried_in_their_order() {
    let mut facts = Facts {
        customers: Given::Found(vec![candidate(SHOP, 1)]),
        coupon: Given::Found(coupon(candidate(SHOP, 2))),
        referral_code: Given::Found(candidate(SHOP, 3)),
        click: ClickEvidence::Proven(click(candidate(SHOP, 4))),
        asset_source: Given::Found(candidate(SHOP, 5)),
        tracking_id: Given::Found(click(candidate(SHOP, 6))),
        ..nothing()
    };
    assert_eq!(by(&facts), (Input::CustomerId, 1));
    facts.customers = Given::Unknown;
    assert_eq!(by(&facts), (Input::Coupon, 2));
    facts.coupon = Given::Unknown;
    assert_eq!(by(&facts), (Input::ReferralCode, 3));
    facts.referral_code = Given::Unknown;
    assert_eq!(by(&facts), (Input::Click, 4));
    facts.click = ClickEvidence::Forged;
    assert_eq!(by(&facts), (Input::AssetSource, 5));
    facts.asset_source = Given::Unknown;
    assert_eq!(by(&facts), (Input::TrackingId, 6));
    facts.tracking_id = Given::Unknown;
    let passed = vec![
        passed(Input::Coupon, Warning::UnknownCoupon),
        passed(Input::ReferralCode, Warning::UnknownReferralCode),
        passed(Input::Click, Warning::ClickForged),
        passed(Input::AssetSource, Warning::UnknownAssetSource),
        passed(Input::TrackingId, Warning::UnknownTrackingId),
    ];
    assert_eq!(attribute(&facts), Attribution::Rejected(Rejection::Unattributed, passed));
    assert_eq!(attribute(&nothing()), Attribution::Rejected(Rejection::Unattributed, vec![]));
}

#[test]
fn a_click_tells_all_about_itself() {
    let fact = ClickFact { review: true, ..click(candidate(SHOP, 4)) };
    let facts = Facts { coupon: Given::Unknown, click: ClickEvidence::Proven(fact), ..nothing() };
    assert_eq!(
        resolved(&facts),
        Resolved {
            input: Input::Click,
            named_by: None,
            candidate: candidate(SHOP, 4),
            click_id: Some(fact.click_id),
            clicked_at: Some(fact.clicked_at),
            review: true,
            window_days: Some(30),
            known_customer: false,
            passed_over: vec![passed(Input::Coupon, Warning::UnknownCoupon)],
        }
    );
    let facts = Facts { click: ClickEvidence::Proven(ClickFact { any_age: true, ..fact }), ..facts };
    assert_eq!(resolved(&facts).window_days, None);
    let facts = Facts { click: ClickEvidence::Absent, tracking_id: Given::Found(fact), ..facts };
    let by_tracking = resolved(&facts);
    assert_eq!((by_tracking.click_id, by_tracking.review), (Some(fact.click_id), true));
}

#[test]
fn a_customer_is_found_in_the_named_program_or_in_the_only_one() {
    let both = Given::Found(vec![candidate(SHOP, 1), candidate(BLOG, 2)]);
    let facts = Facts { customers: both, ..nothing() };
    assert_eq!(attribute(&facts), Attribution::Rejected(Rejection::Unattributed, vec![]));
    let named = Facts { named_program: Some(BLOG), ..facts.clone() };
    assert_eq!(by(&named), (Input::CustomerId, 2));
    assert!(resolved(&named).known_customer);
    // A group leaves one program of the two.
    let grouped = Facts { group: Some(vec![SHOP, ProgramId(9)]), ..facts.clone() };
    assert_eq!(by(&grouped), (Input::CustomerId, 1));
    // Known elsewhere only: a customer is born, nobody is named.
    let elsewhere = Facts { named_program: Some(ProgramId(3)), ..facts };
    assert_eq!(attribute(&elsewhere), Attribution::Rejected(Rejection::Unattributed, vec![]));
}

#[test]
fn a_customer_known_in_the_program_that_an_input_names_decides() {
    let facts = Facts {
        customers: Given::Found(vec![candidate(SHOP, 1), candidate(BLOG, 2)]),
        coupon: Given::Unknown,
        click: ClickEvidence::Proven(ClickFact { review: true, ..click(candidate(BLOG, 4)) }),
        ..nothing()
    };
    assert_eq!(
        resolved(&facts),
        Resolved {
            input: Input::CustomerId,
            named_by: Some(Input::Click),
            candidate: candidate(BLOG, 2),
            click_id: None,
            clicked_at: None,
            review: false,
            window_days: None,
            known_customer: true,
            passed_over: vec![passed(Input::Coupon, Warning::UnknownCoupon)],
        }
    );
    // Not known in that program: the click decides.
    let facts = Facts { click: ClickEvidence::Proven(click(candidate(ProgramId(3), 4))), ..facts };
    assert_eq!(by(&facts), (Input::Click, 4));
    assert!(!resolved(&facts).known_customer);
}

#[test]
fn another_program_stops_everything() {
    let mismatch = |passed| Attribution::Rejected(Rejection::ProgramMismatch, passed);
    let facts = Facts {
        named_program: Some(SHOP),
        coupon: Given::Found(coupon(candidate(BLOG, 2))),
        click: ClickEvidence::Proven(click(candidate(SHOP, 4))),
        ..nothing()
    };
    assert_eq!(attribute(&facts), mismatch(vec![]));
    // A coupon that is over does not resolve, so the click does.
    let over = CouponFact { ends_at: Some(AT), ..coupon(candidate(BLOG, 2)) };
    let late = Facts { coupon: Given::Found(over), ..facts.clone() };
    assert_eq!(by(&late), (Input::Click, 4));
    // The same by group, also when the named program itself is not in it.
    let grouped = Facts { named_program: None, group: Some(vec![SHOP]), ..facts.clone() };
    assert_eq!(attribute(&grouped), mismatch(vec![]));
    let outside = Facts { coupon: Given::Unknown, group: Some(vec![BLOG]), ..facts.clone() };
    assert_eq!(attribute(&outside), mismatch(vec![passed(Input::Coupon, Warning::UnknownCoupon)]));
    let inside = Facts { coupon: Given::Absent, group: Some(vec![BLOG, SHOP]), ..facts };
    assert_eq!(by(&inside), (Input::Click, 4));
}

#[test]
fn a_coupon_is_valid_from_its_start_until_before_its_end() {
    let at = |starts_at: Option<i64>, ends_at: Option<i64>| {
        let fact = CouponFact {
            starts_at: starts_at.map(|ms| AT + ms),
            ends_at: ends_at.map(|ms| AT + ms),
            ..coupon(candidate(SHOP, 2))
        };
        match attribute(&Facts { coupon: Given::Found(fact), ..nothing() }) {
            Attribution::Resolved(_) => true,
            Attribution::Rejected(Rejection::Unattributed, over) => {
                assert_eq!(over, [passed(Input::Coupon, Warning::CouponExpired)]);
                false
            }
            other => panic!("{other:?}"),
        }
    };
    let table = [
        (None, None, true),
        (Some(0), None, true),
        (Some(1), None, false),
        (None, Some(0), false),
        (None, Some(1), true),
        (Some(0), Some(1), true),
        (Some(-2), Some(-1), false),
    ];
    for (starts, ends, valid) in table {
        assert_eq!(at(starts, ends), valid, "{starts:?} to {ends:?}");
    }
}

#[test]
fn a_window_includes_its_limit() {
    let aged = |age_ms: i64| ClickFact { clicked_at: AT + -age_ms, ..click(candidate(SHOP, 4)) };
    let limit = 30 * MS_PER_DAY;
    assert_eq!(refused(aged(0)), None);
    assert_eq!(refused(aged(limit)), None);
    assert_eq!(refused(aged(limit + 1)), Some(Warning::ClickExpired));
    assert_eq!(refused(ClickFact { any_age: true, ..aged(limit + 1) }), None);
    // A window of no days still holds a conversion that happened with its click.
    assert_eq!(refused(ClickFact { cookie_time_days: 0, ..aged(0) }), None);
    assert_eq!(refused(ClickFact { cookie_time_days: 0, ..aged(1) }), Some(Warning::ClickExpired));
}

#[test]
fn a_conversion_may_lie_five_minutes_before_its_click() {
    let before = |ms: i64| ClickFact { clicked_at: AT + ms, ..click(candidate(SHOP, 4)) };
    assert_eq!(refused(before(TOLERANCE_MS)), None);
    assert_eq!(refused(before(TOLERANCE_MS + 1)), Some(Warning::ConversionBeforeClick));
    // It counts as at the click's time, even in a window of no days; no limit of age does not help.
    assert_eq!(refused(ClickFact { cookie_time_days: 0, ..before(1) }), None);
    let any_age = ClickFact { any_age: true, ..before(TOLERANCE_MS + 1) };
    assert_eq!(refused(any_age), Some(Warning::ConversionBeforeClick));
}

#[test]
fn traffic_that_may_not_attribute_does_not() {
    let invalid = ClickFact { attributable: false, ..click(candidate(SHOP, 4)) };
    assert_eq!(refused(invalid), Some(Warning::ClickInvalidTraffic));
    // Too old says more: no click of any class would have counted.
    assert_eq!(refused(ClickFact { cookie_time_days: 0, ..invalid }), Some(Warning::ClickExpired));
}

#[test]
fn a_tracking_id_finds_only_clicks_that_may_attribute() {
    let warning = |click| match attribute(&Facts { tracking_id: Given::Found(click), ..nothing() }) {
        Attribution::Rejected(Rejection::Unattributed, passed) => Some(passed[0].warning),
        _ => None,
    };
    let fact = click(candidate(SHOP, 6));
    assert_eq!(warning(fact), None);
    assert_eq!(warning(ClickFact { cookie_time_days: 0, ..fact }), Some(Warning::ClickExpired));
    assert_eq!(warning(ClickFact { attributable: false, ..fact }), Some(Warning::UnknownTrackingId));
    let later = ClickFact { clicked_at: AT + TOLERANCE_MS + 1, ..fact };
    assert_eq!(warning(later), Some(Warning::UnknownTrackingId));
}

#[test]
fn a_missing_click_waits_unless_an_earlier_input_resolves() {
    for (evidence, waits) in [
        (ClickEvidence::NotStored, Waits::ClickNotStored),
        (ClickEvidence::UnknownKey, Waits::TokenKeyUnknown),
    ] {
        let facts = Facts { click: evidence, asset_source: Given::Found(candidate(SHOP, 5)), ..nothing() };
        assert_eq!(attribute(&facts), Attribution::Pending(waits));
        let earlier = Facts { coupon: Given::Found(coupon(candidate(SHOP, 2))), ..facts.clone() };
        assert_eq!(by(&earlier), (Input::Coupon, 2));
        let over = Facts { waited_out: true, ..facts };
        assert_eq!(by(&over), (Input::AssetSource, 5));
        assert_eq!(resolved(&over).passed_over, [passed(Input::Click, Warning::UnknownClick)]);
    }
    let facts = Facts { click: ClickEvidence::Unknown, ..nothing() };
    let passed = vec![passed(Input::Click, Warning::UnknownClick)];
    assert_eq!(attribute(&facts), Attribution::Rejected(Rejection::Unattributed, passed));
}

#[test]
fn only_affiliates_who_were_approved_and_not_suspended_earn() {
    use Standing::{Approved, Disapproved, Pending, Suspended};
    let table = [
        (Some(Approved), None, Ok(())),
        (Some(Approved), Some(Approved), Ok(())),
        (Some(Approved), Some(Suspended), Err(Rejection::AffiliateSuspended)),
        (Some(Suspended), None, Err(Rejection::AffiliateSuspended)),
        (Some(Pending), None, Err(Rejection::AffiliateNotApproved)),
        (Some(Disapproved), Some(Approved), Err(Rejection::AffiliateNotApproved)),
        (None, None, Err(Rejection::AffiliateNotApproved)),
        (None, Some(Suspended), Err(Rejection::AffiliateNotApproved)),
    ];
    for (in_program, everywhere, expected) in table {
        assert_eq!(admit(in_program, everywhere), expected, "{in_program:?}, {everywhere:?}");
    }
}

#[test]
fn a_conversion_lies_between_thirty_days_ago_and_five_minutes_ahead() {
    let check = |ms: i64, may_import| check_occurred_at(AT + ms, AT, 30, may_import);
    let month = 30 * MS_PER_DAY;
    assert_eq!(check(TOLERANCE_MS, false), Ok(()));
    assert_eq!(check(TOLERANCE_MS + 1, true), Err(Rejection::OccurredInFuture));
    assert_eq!(check(-month, false), Ok(()));
    assert_eq!(check(-month - 1, false), Err(Rejection::OccurredTooLongAgo));
    assert_eq!(check(-month - 1, true), Ok(()));
}

/// The rules again, as a list of what each input says instead of an order of attempts.
fn model(facts: &Facts) -> Attribution {
    type Says = Option<Result<(Candidate, Option<ClickFact>), Warning>>;
    let all: &[Candidate] = if let Given::Found(all) = &facts.customers { all } else { &[] };
    let group = facts.group.clone().unwrap_or_else(|| (0..10).map(ProgramId).collect());
    let asked: Vec<ProgramId> = facts.named_program.map_or(group.clone(), |named| vec![named]);
    let asked_customers: Vec<_> = all.iter().filter(|known| asked.contains(&known.program)).collect();
    let says_customer: Says =
        if asked_customers.len() == 1 { Some(Ok((*asked_customers[0], None))) } else { None };
    let says_coupon: Says = match &facts.coupon {
        Given::Absent => None,
        Given::Unknown => Some(Err(Warning::UnknownCoupon)),
        Given::Found(coupon) => {
            let start = coupon.starts_at.map_or(i64::MIN, |at| at.0);
            let end = coupon.ends_at.map_or(i64::MAX, |at| at.0);
            let valid = (start..end).contains(&facts.occurred_at.0);
            Some(if valid { Ok((coupon.candidate, None)) } else { Err(Warning::CouponExpired) })
        }
    };
    let plain = |given: &Given<Candidate>, warning| -> Says {
        match given {
            Given::Absent => None,
            Given::Unknown => Some(Err(warning)),
            Given::Found(candidate) => Some(Ok((*candidate, None))),
        }
    };
    let age = |click: &ClickFact| facts.occurred_at.0 - click.clicked_at.0;
    let too_old =
        |click: &ClickFact| !click.any_age && age(click) > i64::from(click.cookie_time_days) * 86_400_000;
    let too_early = |click: &ClickFact| age(click) < -300_000;
    let says_click: Says = match &facts.click {
        ClickEvidence::Absent => None,
        ClickEvidence::Proven(click) => Some(match (too_old(click), click.attributable, too_early(click)) {
            (true, _, _) => Err(Warning::ClickExpired),
            (_, false, _) => Err(Warning::ClickInvalidTraffic),
            (_, _, true) => Err(Warning::ConversionBeforeClick),
            (false, true, false) => Ok((click.candidate, Some(*click))),
        }),
        ClickEvidence::Forged => Some(Err(Warning::ClickForged)),
        ClickEvidence::NotStored | ClickEvidence::UnknownKey | ClickEvidence::Unknown => {
            Some(Err(Warning::UnknownClick))
        }
    };
    let says_tracking: Says = match &facts.tracking_id {
        Given::Absent => None,
        Given::Unknown => Some(Err(Warning::UnknownTrackingId)),
        Given::Found(click) if too_old(click) => Some(Err(Warning::ClickExpired)),
        Given::Found(click) if !click.attributable || too_early(click) => {
            Some(Err(Warning::UnknownTrackingId))
        }
        Given::Found(click) => Some(Ok((click.candidate, Some(*click)))),
    };
    let all_say = [
        (Input::CustomerId, says_customer),
        (Input::Coupon, says_coupon),
        (Input::ReferralCode, plain(&facts.referral_code, Warning::UnknownReferralCode)),
        (Input::Click, says_click),
        (Input::AssetSource, plain(&facts.asset_source, Warning::UnknownAssetSource)),
        (Input::TrackingId, says_tracking),
    ];
    let winner = all_say.iter().position(|(_, says)| matches!(says, Some(Ok(_))));
    let waits = match facts.click {
        ClickEvidence::NotStored => Some(Waits::ClickNotStored),
        ClickEvidence::UnknownKey => Some(Waits::TokenKeyUnknown),
        _ => None,
    };
    if let Some(waits) = waits.filter(|_| !facts.waited_out && winner.is_none_or(|place| place > 3)) {
        return Attribution::Pending(waits);
    }
    let passed_over = all_say[..winner.unwrap_or(all_say.len())]
        .iter()
        .filter_map(|(input, says)| Some(passed(*input, (*says)?.err()?)))
        .collect();
    let Some((input, Some(Ok((candidate, click))))) = winner.map(|place| all_say[place]) else {
        return Attribution::Rejected(Rejection::Unattributed, passed_over);
    };
    if !asked.contains(&candidate.program) || !group.contains(&candidate.program) {
        return Attribution::Rejected(Rejection::ProgramMismatch, passed_over);
    }
    let customer = all.iter().find(|known| known.program == candidate.program);
    let click = click.filter(|_| customer.is_none());
    Attribution::Resolved(Resolved {
        input: if customer.is_some() { Input::CustomerId } else { input },
        named_by: Some(input).filter(|input| customer.is_some() && *input != Input::CustomerId),
        candidate: customer.copied().unwrap_or(candidate),
        click_id: click.map(|click| click.click_id),
        clicked_at: click.map(|click| click.clicked_at),
        review: click.is_some_and(|click| click.review),
        window_days: click.and_then(|click| (!click.any_age).then_some(click.cookie_time_days)),
        known_customer: customer.is_some(),
        passed_over,
    })
}

/// Times around the limits that the rules know.
fn offsets() -> impl Strategy<Value = i64> {
    let limits = [0, -MS_PER_DAY, -30 * MS_PER_DAY, TOLERANCE_MS];
    (prop::sample::select(limits.to_vec()), -2_i64..=2).prop_map(|(limit, near)| limit + near)
}

fn programs() -> impl Strategy<Value = ProgramId> {
    (1_i64..4).prop_map(ProgramId)
}

fn candidates() -> impl Strategy<Value = Candidate> {
    (programs(), 1_i64..9).prop_map(|(program, affiliate)| candidate(program, affiliate))
}

fn given<T: Clone + std::fmt::Debug>(found: impl Strategy<Value = T>) -> impl Strategy<Value = Given<T>> {
    prop_oneof![2 => Just(Given::Absent), 2 => Just(Given::Unknown), 3 => found.prop_map(Given::Found)]
}

fn coupons() -> impl Strategy<Value = CouponFact> {
    let bound = || prop::option::of(-2_i64..=2).prop_map(|ms| ms.map(|ms| AT + ms));
    (candidates(), bound(), bound()).prop_map(|(candidate, starts_at, ends_at)| CouponFact {
        candidate,
        starts_at,
        ends_at,
    })
}

fn clicks() -> impl Strategy<Value = ClickFact> {
    let days = prop::sample::select(vec![0_u32, 1, 30]);
    (candidates(), offsets(), prop::bool::weighted(0.8), any::<bool>(), days, prop::bool::weighted(0.2))
        .prop_map(|(candidate, offset, attributable, review, cookie_time_days, any_age)| ClickFact {
            clicked_at: AT + offset,
            attributable,
            review,
            cookie_time_days,
            any_age,
            ..click(candidate)
        })
}

fn evidence() -> impl Strategy<Value = ClickEvidence> {
    prop_oneof![
        2 => Just(ClickEvidence::Absent),
        4 => clicks().prop_map(ClickEvidence::Proven),
        1 => Just(ClickEvidence::NotStored),
        1 => Just(ClickEvidence::UnknownKey),
        1 => Just(ClickEvidence::Forged),
        1 => Just(ClickEvidence::Unknown),
    ]
}

/// A customer is known at most once in a program.
fn customers() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::btree_map(1_i64..4, 1_i64..9, 0..3).prop_map(|known| {
        known.into_iter().map(|(program, affiliate)| candidate(ProgramId(program), affiliate)).collect()
    })
}

prop_compose! {
    fn all_facts()(
        named_program in prop::option::weighted(0.3, programs()),
        group in prop::option::weighted(0.3, prop::collection::vec(programs(), 0..3)),
        customers in given(customers()),
        coupon in given(coupons()),
        referral_code in given(candidates()),
        click in evidence(),
        asset_source in given(candidates()),
        tracking_id in given(clicks()),
        waited_out in any::<bool>(),
    ) -> Facts {
        Facts {
            occurred_at: AT, named_program, group, customers, coupon, referral_code, click, asset_source,
            tracking_id, waited_out,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn attribution_follows_the_model(facts in all_facts()) {
        prop_assert_eq!(attribute(&facts), model(&facts));
    }

    /// What attribution saw is stored, and the stored facts give the same answer.
    #[test]
    fn stored_facts_give_the_same_answer(facts in all_facts()) {
        let answer = attribute(&facts);
        let stored = serde_json::to_value((&facts, &answer)).unwrap();
        let (read, read_answer): (Facts, Attribution) = serde_json::from_value(stored).unwrap();
        prop_assert_eq!(&read, &facts);
        prop_assert_eq!(&read_answer, &answer);
        prop_assert_eq!(attribute(&read), answer);
    }
}
