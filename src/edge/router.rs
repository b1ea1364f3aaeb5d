//! From a path and a method to the one handler, without a table.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::IpAddr,
    rc::Rc,
};

use bytes::Bytes;
use futures_util::future::{Either, FutureExt, LocalBoxFuture};
use http::{Method, Request, Response};
use hyper::body::Body;

use super::{
    click_batch,
    collect::{self, EventKind},
    core::Core,
    pixel,
    problem::Refusal,
    redirect,
    response::EdgeBody,
};

/// What lives at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Link,
    Pixel { program: &'a str },
    Event(EventKind),
    Nothing,
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Self {
        if let Some(code) = path.strip_prefix("/r/") {
            return if is_segment(code) { Self::Link } else { Self::Nothing };
        }
        if let Some(program) = path.strip_prefix("/pixel/").and_then(|file| file.strip_suffix(".gif")) {
            return if is_segment(program) { Self::Pixel { program } } else { Self::Nothing };
        }
        path.strip_prefix("/v1/events/").and_then(EventKind::parse).map_or(Self::Nothing, Self::Event)
    }
}

/// One segment of a path, not empty.
fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

/// The methods that something here knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Head,
    Post,
    Options,
    Other,
}

impl Verb {
    fn of(method: &Method) -> Self {
        if method == Method::GET {
            Self::Get
        } else if method == Method::HEAD {
            Self::Head
        } else if method == Method::POST {
            Self::Post
        } else if method == Method::OPTIONS {
            Self::Options
        } else {
            Self::Other
        }
    }
}

/// An answer that is there, or one that has to wait. In a box: hyper moves what it waits for about with each request,
/// and what the body of a report needs is many times what a link does.
type Answer = Either<
    Ready<Result<Response<EdgeBody>, Infallible>>,
    LocalBoxFuture<'static, Result<Response<EdgeBody>, Infallible>>,
>;

fn at_once(response: Response<EdgeBody>) -> Answer {
    Either::Left(ready(Ok(response)))
}

fn later(response: impl Future<Output = Response<EdgeBody>> + 'static) -> Answer {
    Either::Right(response.map(Ok).boxed_local())
}

/// Answers one request.
pub(crate) fn answer<B>(core: &Rc<Core>, request: Request<B>, peer: IpAddr) -> Answer
where
    B: Body<Data = Bytes> + Unpin + 'static,
{
    let verb = Verb::of(request.method());
    match (Route::of(request.uri().path()), verb) {
        (Route::Link, Verb::Get | Verb::Head) => {
            let (parts, _) = request.into_parts();
            let redirected = redirect::redirect(core, &parts, peer, &mut core.clicks_pending.texts());
            if let Some(click) = redirected.click {
                click_batch::add(core, click);
            }
            at_once(redirected.response)
        }
        (Route::Link, Verb::Post | Verb::Options | Verb::Other) => {
            at_once(Refusal::MethodNotAllowed { allow: "GET, HEAD" }.response())
        }
        (Route::Pixel { .. }, Verb::Get) => {
            let (parts, _) = request.into_parts();
            let core = Rc::clone(core);
            later(async move {
                match Route::of(parts.uri.path()) {
                    Route::Pixel { program } => pixel::pixel(&core, program, &parts).await,
                    Route::Link | Route::Event(_) | Route::Nothing => Refusal::NotFound.response(),
                }
            })
        }
        (Route::Pixel { .. }, Verb::Head | Verb::Post | Verb::Options | Verb::Other) => {
            at_once(Refusal::MethodNotAllowed { allow: "GET" }.response())
        }
        (Route::Event(kind), Verb::Post) => {
            let (parts, body) = request.into_parts();
            let core = Rc::clone(core);
            later(async move { collect::collect(&core, kind, parts, body, peer).await })
        }
        (Route::Event(_), Verb::Options) => at_once(collect::preflight()),
        (Route::Event(_), Verb::Get | Verb::Head | Verb::Other) => {
            at_once(Refusal::MethodNotAllowed { allow: "POST, OPTIONS" }.response())
        }
        (Route::Nothing, Verb::Get | Verb::Head | Verb::Post | Verb::Options | Verb::Other) => {
            at_once(Refusal::NotFound.response())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::ConversionKind;

    #[test]
    fn paths_are_matched_whole() {
        let pixel = Route::Pixel { program: "shop" };
        for (path, route) in [
            ("/r/jane", Route::Link),
            ("/r/", Route::Nothing),
            ("/r", Route::Nothing),
            ("/r/a/b", Route::Nothing),
            ("/R/jane", Route::Nothing),
            ("//r/jane", Route::Nothing),
            ("/pixel/shop.gif", pixel),
            ("/pixel/.gif", Route::Nothing),
            ("/pixel/shop", Route::Nothing),
            ("/pixel/a/b.gif", Route::Nothing),
            ("/v1/events/purchase", Route::Event(EventKind::Conversion(ConversionKind::Conversion))),
            ("/v1/events/click", Route::Event(EventKind::Click)),
            ("/v1/events/", Route::Nothing),
            ("/v1/events/click/", Route::Nothing),
            ("/v2/events/click", Route::Nothing),
            ("*", Route::Nothing),
            ("", Route::Nothing),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
