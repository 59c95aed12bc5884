//! What goes wrong, as a page in the person's language.

use askama::Template;
use axum::http::header;
use axum::response::{Html, IntoResponse as _, Response};

use crate::failure::Failure;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "failure.html")]
struct Page<'a> {
    visit: &'a Visit,
    title: &'static str,
    why: &'a str,
}

/// As a page.
pub fn page(failure: &Failure, visit: &Visit) -> Response {
    let why = match failure {
        Failure::Refused(why) | Failure::Unavailable(why) => why,
        _ => "",
    };
    let page = Page { visit, title: title(failure, visit), why }.render().unwrap_or_default();
    let mut response = (failure.status(), Html(page)).into_response();
    if let Failure::TooMany(seconds) = failure {
        response.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
    }
    response
}

fn title(failure: &Failure, visit: &Visit) -> &'static str {
    match failure {
        Failure::Forbidden => visit.say("You may not do this. Ask an operator.", "您没有这个权限，请联系管理员。"),
        Failure::NotFound => visit.say("There is nothing here.", "这里什么也没有。"),
        Failure::Refused(_) => visit.say("This was refused.", "请求被拒绝。"),
        Failure::TooMany(_) => {
            visit.say("Too many requests. Wait a moment, then try again.", "请求太频繁，请稍等后重试。")
        }
        Failure::OtherSite => visit.say(
            "This request comes from another site, so nothing was done. Use the page itself.",
            "该请求来自其他网站，未执行任何操作。请在本页面操作。",
        ),
        Failure::Unavailable(_) => {
            visit.say("Something this page needs does not answer. Try again.", "所依赖的服务没有响应，请重试。")
        }
        Failure::Broken => visit.say("The page has a fault. Its log says which.", "页面出错，详情见日志。"),
    }
}
