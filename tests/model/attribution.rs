//! Whose conversion it is (MONEY 2).

use waypost::{
    domain::reason::{Input, Rejection, Waits},
    events,
};

use super::{
    Ms,
    calendar::DAY,
    state::*,
    versions::{in_force, settings},
};

const TOLERANCE: Ms = 5 * 60_000;

#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub program: i64,
    pub affiliate: i64,
    pub link: Option<i64>,
    pub by: Input,
    pub review: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum NotFound {
    Waits(Waits),
    Rejected(Rejection),
}

impl Model {
    pub fn program_named(&self, slug: &str) -> Option<i64> {
        self.programs.iter().find(|(_, program)| program.slug == slug).map(|(id, _)| *id)
    }

    pub fn customer_named(&self, program: i64, name: &str) -> Option<usize> {
        self.customers.iter().position(|customer| customer.program == program && customer.name == name)
    }

    fn group_of(&self, program: i64, at: Ms) -> Option<&str> {
        settings(&self.programs[&program], at).0.program_group.as_deref()
    }

    pub fn attribute(&self, input: &events::Conversion, at: Ms, waited_out: bool) -> Result<Found, NotFound> {
        let named = match &input.program {
            Some(slug) => {
                Some(self.program_named(slug).ok_or(NotFound::Rejected(Rejection::UnknownProgram))?)
            }
            None => None,
        };
        let admits = |program: i64| {
            named.is_none_or(|named| named == program)
                && input
                    .program_group
                    .as_deref()
                    .is_none_or(|group| self.group_of(program, at) == Some(group))
        };
        if let Some(name) = &input.customer_id {
            let known: Vec<&Customer> = self
                .customers
                .iter()
                .filter(|customer| customer.name == *name && admits(customer.program))
                .collect();
            if let [customer] = known[..] {
                return Ok(by_customer(customer));
            }
        }
        let found = self.other_inputs(input, at, waited_out)?;
        let Some(found) = found else { return Err(NotFound::Rejected(Rejection::Unattributed)) };
        if !admits(found.program) {
            return Err(NotFound::Rejected(Rejection::ProgramMismatch));
        }
        let known = input.customer_id.as_ref().and_then(|name| self.customer_named(found.program, name));
        Ok(known.map_or(found, |customer| by_customer(&self.customers[customer])))
    }

    fn other_inputs(
        &self,
        input: &events::Conversion,
        at: Ms,
        waited_out: bool,
    ) -> Result<Option<Found>, NotFound> {
        if let Some(code) = &input.coupon {
            let coupon = self.coupons.iter().find(|coupon| coupon.code.eq_ignore_ascii_case(code));
            let coupon = coupon.filter(|coupon| {
                coupon.starts_at.is_none_or(|start| start <= at) && coupon.ends_at.is_none_or(|end| at < end)
            });
            if let Some(Coupon { program, affiliate, .. }) = coupon {
                let (program, affiliate) = (*program, *affiliate);
                return Ok(Some(Found { program, affiliate, link: None, by: Input::Coupon, review: false }));
            }
        }
        if let Some(code) = &input.referral_code
            && let Some(link) = self.links.iter().find(|link| link.code == *code)
        {
            return Ok(Some(by_link(link, Input::ReferralCode, false)));
        }
        if let Some(text) = &input.click_id {
            let click = self.clicks.iter().find(|click| match &click.token {
                Some(token) => token == text,
                None => click.id.to_string() == *text,
            });
            match click {
                None if !waited_out => return Err(NotFound::Waits(Waits::ClickNotStored)),
                None => {}
                Some(click) if click.attributable => {
                    if let Some(found) = self.by_click(click, at, Input::Click) {
                        return Ok(Some(found));
                    }
                }
                Some(_) => {}
            }
        }
        if let (Some(asset), Some(source)) = (&input.asset_id, &input.source_id)
            && let Some(link) = self.links.iter().find(|link| link.asset == *asset && link.source == *source)
        {
            return Ok(Some(by_link(link, Input::AssetSource, false)));
        }
        if let Some(id) = &input.tracking_id {
            let latest = self
                .clicks
                .iter()
                .filter(|click| click.token.is_none() && click.tracking_id.as_ref() == Some(id))
                .filter(|click| click.attributable && click.at <= at + TOLERANCE)
                .max_by_key(|click| (click.at, click.id));
            return Ok(latest.and_then(|click| self.by_click(click, at, Input::TrackingId)));
        }
        Ok(None)
    }

    fn by_click(&self, click: &Click, at: Ms, by: Input) -> Option<Found> {
        let link = self.links.iter().find(|link| link.id == click.link)?;
        let rules = settings(&self.programs[&link.program], at).0;
        let age = at - click.at;
        let in_time = rules.override_max_cookie_time || age <= i64::from(rules.cookie_time) * DAY;
        (age >= -TOLERANCE && in_time).then(|| by_link(link, by, click.review))
    }
}

fn by_link(link: &Link, by: Input, review: bool) -> Found {
    Found { program: link.program, affiliate: link.affiliate, link: Some(link.id), by, review }
}

fn by_customer(customer: &Customer) -> Found {
    Found {
        program: customer.program,
        affiliate: customer.affiliate,
        link: customer.link,
        by: Input::CustomerId,
        review: false,
    }
}

/// Whether the customer's conversions at that time earn nothing.
pub fn canceled(customer: &Customer, at: Ms) -> bool {
    in_force(&customer.cancellations, at) == Some(&true)
}
