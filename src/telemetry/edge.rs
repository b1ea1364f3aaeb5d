//! Metrics of `edge`.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::domain::traffic::TrafficClass;

const CONNECTIONS: &str = "waypost_edge_connections";
const CONNECTIONS_TOTAL: &str = "waypost_edge_connections_total";
const REDIRECTS: &str = "waypost_edge_redirects_total";
const REDIRECT_SECONDS: &str = "waypost_edge_redirect_seconds";
const DEEP_LINKS: &str = "waypost_edge_deep_links_total";
const CLICKS: &str = "waypost_edge_clicks_total";
const CLICKS_STORED: &str = "waypost_edge_clicks_stored_total";
const CLICKS_LOST: &str = "waypost_edge_clicks_lost_total";
const PIXELS: &str = "waypost_edge_pixels_total";
const PIXEL_SECRETS_UNREADABLE: &str = "waypost_edge_pixel_secrets_unreadable_total";
const EVENTS: &str = "waypost_edge_events_total";
const APPENDED: &str = "waypost_edge_appended_total";

/// What became of requests for links.
#[derive(Clone, Debug)]
pub struct RedirectMetrics {
    /// Led to its destination, with a token.
    pub attributed: Counter,
    /// Led to its destination without one: opted out, suspended, expired.
    pub unattributed: Counter,
    /// The code was unknown and the account has a fallback.
    pub fallback: Counter,
    pub unknown_code: Counter,
    pub unknown_host: Counter,
    /// Neither the link's nor the program's destination can be used.
    pub no_destination: Counter,
    pub malformed: Counter,
}

/// What became of the pixels.
#[derive(Clone, Debug)]
pub struct PixelMetrics {
    pub accepted: Counter,
    pub rejected: Counter,
    /// The event was handed over, but not durable in time.
    pub unconfirmed: Counter,
    /// The event log refused.
    pub not_stored: Counter,
    /// Signed ones that were held instead, because no key opens their program's secret.
    pub unreadable_secrets: Counter,
}

/// What became of the events that were posted, element by element.
#[derive(Clone, Debug)]
pub struct EventMetrics {
    pub accepted: Counter,
    pub invalid: Counter,
    /// The event log refused.
    pub not_stored: Counter,
    /// Requests refused before their events were looked at: no key, no JSON, too large.
    pub refused: Counter,
}

/// How conversions and refunds that were handed to the event log ended, also when the sender was gone by then.
#[derive(Clone, Debug)]
pub struct AppendMetrics {
    pub stored: Counter,
    pub refused: Counter,
}

/// How connections ended.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    pub open: Gauge,
    /// In good order, or left by the client.
    pub closed: Counter,
    /// Cut: too slow, no HTTP, or open when the drain ran out of time.
    pub cut: Counter,
    /// Times that a core stopped accepting because it was full.
    pub full: Counter,
}

/// Every series of the data plane.
#[derive(Clone, Debug)]
pub struct EdgeMetrics {
    pub connections: ConnectionMetrics,
    pub redirects: RedirectMetrics,
    /// A redirect's own work, from the parsed request to the answer.
    pub redirect_seconds: Histogram,
    pub deep_links_followed: Counter,
    pub deep_links_refused: Counter,
    clicks: [Counter; TrafficClass::ALL.len()],
    pub clicks_stored: Counter,
    /// Answered and stored nowhere. This one pages.
    pub clicks_lost: Counter,
    pub pixels: PixelMetrics,
    pub events: EventMetrics,
    pub appended: AppendMetrics,
}

fn outcome(name: &'static str, outcome: &'static str) -> Counter {
    zeroed(counter!(name, "outcome" => outcome))
}

fn zeroed(counter: Counter) -> Counter {
    counter.increment(0);
    counter
}

impl EdgeMetrics {
    /// Describes every series and sets it to 0.
    pub fn register() -> Self {
        describe();
        let open = gauge!(CONNECTIONS);
        open.set(0.0);
        Self {
            connections: ConnectionMetrics {
                open,
                closed: outcome(CONNECTIONS_TOTAL, "closed"),
                cut: outcome(CONNECTIONS_TOTAL, "cut"),
                full: outcome(CONNECTIONS_TOTAL, "full"),
            },
            redirects: RedirectMetrics {
                attributed: outcome(REDIRECTS, "attributed"),
                unattributed: outcome(REDIRECTS, "unattributed"),
                fallback: outcome(REDIRECTS, "fallback"),
                unknown_code: outcome(REDIRECTS, "unknown_code"),
                unknown_host: outcome(REDIRECTS, "unknown_host"),
                no_destination: outcome(REDIRECTS, "no_destination"),
                malformed: outcome(REDIRECTS, "malformed"),
            },
            redirect_seconds: histogram!(REDIRECT_SECONDS),
            deep_links_followed: outcome(DEEP_LINKS, "followed"),
            deep_links_refused: outcome(DEEP_LINKS, "refused"),
            clicks: TrafficClass::ALL.map(|class| zeroed(counter!(CLICKS, "class" => class.as_str()))),
            clicks_stored: zeroed(counter!(CLICKS_STORED)),
            clicks_lost: zeroed(counter!(CLICKS_LOST)),
            pixels: PixelMetrics {
                accepted: outcome(PIXELS, "accepted"),
                rejected: outcome(PIXELS, "rejected"),
                unconfirmed: outcome(PIXELS, "unconfirmed"),
                not_stored: outcome(PIXELS, "not_stored"),
                unreadable_secrets: zeroed(counter!(PIXEL_SECRETS_UNREADABLE)),
            },
            events: EventMetrics {
                accepted: outcome(EVENTS, "accepted"),
                invalid: outcome(EVENTS, "invalid"),
                not_stored: outcome(EVENTS, "not_stored"),
                refused: outcome(EVENTS, "refused"),
            },
            appended: AppendMetrics {
                stored: outcome(APPENDED, "stored"),
                refused: outcome(APPENDED, "refused"),
            },
        }
    }

    /// The clicks of a class, counted once their duplicate check is done.
    pub fn clicks(&self, class: TrafficClass) -> &Counter {
        // The discriminants are the places in `ALL`.
        &self.clicks[class as usize]
    }
}

fn describe() {
    describe_gauge!(CONNECTIONS, Unit::Count, "Connections that are open");
    describe_counter!(
        CONNECTIONS_TOTAL,
        Unit::Count,
        "Connections by how they ended, and how often a core was full"
    );
    describe_counter!(REDIRECTS, Unit::Count, "Requests for links, by outcome");
    describe_histogram!(
        REDIRECT_SECONDS,
        Unit::Seconds,
        "A redirect's own work, from the parsed request to the answer"
    );
    describe_counter!(DEEP_LINKS, Unit::Count, "Deep links asked for, by outcome");
    describe_counter!(CLICKS, Unit::Count, "Clicks by traffic class");
    describe_counter!(CLICKS_STORED, Unit::Count, "Clicks that the event log has acknowledged");
    describe_counter!(CLICKS_LOST, Unit::Count, "Clicks that were answered and could be stored nowhere");
    describe_counter!(PIXELS, Unit::Count, "Pixel requests, by outcome");
    describe_counter!(
        PIXEL_SECRETS_UNREADABLE,
        Unit::Count,
        "Signed pixels that were held because no key of secrets.keys opens their program's secret"
    );
    describe_counter!(EVENTS, Unit::Count, "Posted events and refused requests, by outcome");
    describe_counter!(
        APPENDED,
        Unit::Count,
        "Conversions and refunds handed to the event log, by how it ended"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_counter_of_its_own() {
        for (place, class) in TrafficClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, place);
        }
    }
}
