//! The signature of a pixel (DESIGN section 8).
//!
//! ```text
//! sig = hex HMAC-SHA256(the program's pixel secret,
//!       "v1\n" program "\n" name=value&name=value…)
//! ```
//! The pairs are the query's, decoded as a form (`+` is a space), without `sig`, sorted by the bytes of their names,
//! and encoded again by RFC 3986: all but `A-Z a-z 0-9 - . _ ~` as `%XX`, upper case. No name may be given twice.

use std::borrow::Cow;

use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::utf8_percent_encode;
use sha2::Sha256;

use super::query::VALUE;

/// What is signed.
pub(crate) fn canonical(program: &str, pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    let mut sorted: Vec<_> = pairs.iter().filter(|(name, _)| name != "sig").collect();
    sorted.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    let mut text = format!("v1\n{program}\n");
    for (n, (name, value)) in sorted.into_iter().enumerate() {
        if n > 0 {
            text.push('&');
        }
        text.extend(utf8_percent_encode(name, VALUE));
        text.push('=');
        text.extend(utf8_percent_encode(value, VALUE));
    }
    text
}

/// Whether `signature` is right, in constant time. An empty secret signs nothing.
pub(crate) fn is_right(
    secret: &str,
    program: &str,
    pairs: &[(Cow<'_, str>, Cow<'_, str>)],
    signature: &str,
) -> bool {
    let Ok(given) = HEXLOWER_PERMISSIVE.decode(signature.as_bytes()) else { return false };
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(canonical(program, pairs).as_bytes());
    !secret.is_empty() && mac.verify_slice(&given).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::query;

    fn decoded(query: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        query::pairs(query).map(|(name, value)| (query::decode(name), query::decode(value))).collect()
    }

    #[test]
    fn the_canonical_text_does_not_depend_on_order_or_encoding() {
        let text = canonical("shop", &decoded("sig=00&b=x+y%2A&a=%c3%a9~&B="));
        assert_eq!(text, "v1\nshop\nB=&a=%C3%A9~&b=x%20y%2A");
        assert_eq!(text, canonical("shop", &decoded("a=é~&B&%62=x%20y*&sig=11")));
    }

    #[test]
    fn signatures_are_hmac_sha_256() {
        // printf 'v1\nshop\namount=10.00&external_id=o-1&ts=1800000000' | openssl dgst -sha256 -hmac secret
        let pairs = decoded("external_id=o-1&amount=10.00&ts=1800000000");
        let signature = "34aed1b8c2211a0dc55e06da293b90d0a4e50311256f78b8e0228790cf1ca3eb";
        assert!(is_right("secret", "shop", &pairs, signature));
        assert!(is_right("secret", "shop", &pairs, &signature.to_uppercase()));
        assert!(!is_right("secret", "shop2", &pairs, signature));
        assert!(!is_right("Secret", "shop", &pairs, signature));
        assert!(!is_right(
            "secret",
            "shop",
            &decoded("external_id=o-1&amount=99.00&ts=1800000000"),
            signature
        ));
        for bad in ["", "zz", &signature[..62], &format!("{signature}00")] {
            assert!(!is_right("secret", "shop", &pairs, bad), "{bad}");
        }
    }
}
