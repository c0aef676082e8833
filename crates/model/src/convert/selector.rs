//! Selectors of user objects composed into the selectors of the model.
//!
//! The text is composed exactly as upstream composes it: names of IP sets are hashes of it.

use super::Problems;
use tortie_api::v3::{LABEL_NAMESPACE, LABEL_SERVICE_ACCOUNT};
use tortie_selector::Selector;

/// Prefix of labels that endpoints inherit from their namespace.
pub const NAMESPACE_LABEL_PREFIX: &str = "pcns.";
/// Prefix of labels that endpoints inherit from their service account.
pub const SERVICE_ACCOUNT_LABEL_PREFIX: &str = "pcsa.";

/// Parses a user's selector and puts a prefix before each label; an error is reported at `field`.
fn prefixed(text: &str, prefix: &str, field: &str, problems: &mut Problems) -> Option<String> {
    match Selector::parse(text) {
        Ok(selector) => Some(selector.with_label_prefix(prefix).canonical().to_owned()),
        Err(error) => {
            problems.fatal(field, error.to_string());
            None
        }
    }
}

/// Reports a selector that does not parse. Empty is fine.
pub(super) fn check(text: &str, field: &str, problems: &mut Problems) {
    if !text.is_empty()
        && let Err(error) = Selector::parse(text)
    {
        problems.fatal(field, error.to_string());
    }
}

/// `(current) && prefixed(new)`.
pub(super) fn and_prefixed(
    current: &str,
    new: &str,
    prefix: &str,
    field: &str,
    problems: &mut Problems,
) -> String {
    let new = if new.is_empty() { None } else { prefixed(new, prefix, field, problems) };
    match new {
        None => current.to_owned(),
        Some(new) if current.is_empty() => new,
        Some(new) => format!("({current}) && {new}"),
    }
}

/// The whole selector of a policy in a namespace.
pub(super) fn namespaced_policy(
    selector: &str,
    namespace: &str,
    service_account_selector: &str,
    problems: &mut Problems,
) -> String {
    check(selector, "spec.selector", problems);
    let mut combined = selector.to_owned();
    if !namespace.is_empty() {
        let own = format!("{LABEL_NAMESPACE} == '{namespace}'");
        combined = if selector.is_empty() { own } else { format!("({selector}) && {own}") };
    }
    and_prefixed(
        &combined,
        service_account_selector,
        SERVICE_ACCOUNT_LABEL_PREFIX,
        "spec.serviceAccountSelector",
        problems,
    )
}

/// The whole selector of a cluster-wide policy.
pub(super) fn global_policy(
    selector: &str,
    namespace_selector: &str,
    service_account_selector: &str,
    problems: &mut Problems,
) -> String {
    check(selector, "spec.selector", problems);
    let mut combined = selector.to_owned();
    if !namespace_selector.is_empty() {
        let field = "spec.namespaceSelector";
        combined = and_prefixed(&combined, namespace_selector, NAMESPACE_LABEL_PREFIX, field, problems)
            .replace("all()", &format!("has({LABEL_NAMESPACE})"));
    }
    if !service_account_selector.is_empty() {
        let field = "spec.serviceAccountSelector";
        combined =
            and_prefixed(&combined, service_account_selector, SERVICE_ACCOUNT_LABEL_PREFIX, field, problems)
                .replace("all()", &format!("has({LABEL_SERVICE_ACCOUNT})"));
    }
    combined
}

/// Service accounts by label and name as one selector; empty if neither is given.
fn service_accounts(
    accounts: &tortie_api::v3::ServiceAccountMatch,
    field: &str,
    problems: &mut Problems,
) -> String {
    let by_label = if accounts.selector.is_empty() {
        None
    } else {
        prefixed(&accounts.selector, SERVICE_ACCOUNT_LABEL_PREFIX, &format!("{field}.selector"), problems)
    };
    if accounts.names.is_empty() {
        return by_label.unwrap_or_default();
    }
    let by_name = format!("{LABEL_SERVICE_ACCOUNT} in {{ '{}' }}", accounts.names.join("', '"));
    let by_name = match Selector::parse(&by_name) {
        Ok(selector) => selector.canonical().to_owned(),
        Err(error) => {
            problems.fatal(&format!("{field}.names"), error.to_string());
            return String::new();
        }
    };
    match by_label {
        Some(by_label) => format!("({by_label}) && ({by_name})"),
        None => by_name,
    }
}

/// The selector of one side of a rule; `namespace` is the policy's, or empty.
pub(super) fn entity(
    entity: &tortie_api::v3::EntityRule,
    namespace: &str,
    field: &str,
    problems: &mut Problems,
) -> String {
    check(&entity.selector, &format!("{field}.selector"), problems);
    check(&entity.not_selector, &format!("{field}.notSelector"), problems);
    let namespaces = if !entity.namespace_selector.is_empty() {
        prefixed(
            &entity.namespace_selector,
            NAMESPACE_LABEL_PREFIX,
            &format!("{field}.namespaceSelector"),
            problems,
        )
        .unwrap_or_default()
        .replace("all()", &format!("has({LABEL_NAMESPACE})"))
        .replace("global()", &format!("!has({LABEL_NAMESPACE})"))
    } else if !namespace.is_empty() {
        format!("{LABEL_NAMESPACE} == '{namespace}'")
    } else {
        String::new()
    };
    let accounts = match &entity.service_accounts {
        Some(accounts) => service_accounts(accounts, &format!("{field}.serviceAccounts"), problems),
        None => String::new(),
    };
    let selector = match (accounts.as_str(), entity.selector.as_str()) {
        ("", selector) => selector.to_owned(),
        (accounts, "") => accounts.to_owned(),
        (accounts, selector) => format!("({accounts}) && ({selector})"),
    };
    let restricts =
        !selector.is_empty() || !entity.not_selector.is_empty() || !entity.namespace_selector.is_empty();
    match (namespaces.is_empty() || !restricts, selector.is_empty()) {
        (true, _) => selector,
        (false, true) => namespaces,
        (false, false) => format!("({namespaces}) && ({selector})"),
    }
}
