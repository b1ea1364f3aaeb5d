//! Signing and verifying a click token.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::expect_used, reason = "a bench stops at the unexpected")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use uuid::Uuid;
use waypost::domain::{
    ids::LinkId,
    token::{ClickToken, KeyRing, KeyState, TOKEN_CHARS, TokenKey},
};

fn tokens(c: &mut Criterion) {
    let key = TokenKey { id: 7, state: KeyState::Active, secret: [9; 32] };
    let keys = KeyRing::new(vec![key]).expect("one active key");
    let token = ClickToken { click_id: Uuid::now_v7(), link: LinkId(42), attributable: true, review: false };
    let text = keys.sign(&token);
    let mut forged = text.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(last);

    let mut group = c.benchmark_group("token");
    let mut out = String::with_capacity(TOKEN_CHARS);
    group.bench_function("sign", |b| {
        b.iter(|| {
            out.clear();
            keys.sign_into(black_box(&token), &mut out);
        });
    });
    group.bench_function("verify", |b| b.iter(|| keys.verify(black_box(&text)).is_ok()));
    group.bench_function("refuse a forged one", |b| b.iter(|| keys.verify(black_box(&forged)).is_err()));
    group.finish();
}

criterion_group!(benches, tokens);
criterion_main!(benches);
