//! AWS's token service as far as the tests need it: `AssumeRole` of one role.

use super::reply::{Body, Reply};
use super::{ROLE, RecordedRequest};

/// The role that a caller with the right external id can assume.
pub(super) const ROLE_ARN: &str = "arn:aws:iam::123456789012:role/bedrock";

/// The answer to a query-protocol call.
pub(super) fn answer(request: &RecordedRequest) -> Reply {
    let form = String::from_utf8_lossy(&request.body).into_owned();
    let role = ROLE_ARN.replace(':', "%3A").replace('/', "%2F");
    let is_known = ["Action=AssumeRole", &format!("RoleArn={role}"), "ExternalId=tenant-7"];
    let (status, xml) = if is_known.iter().all(|part| form.contains(part)) {
        let (key, secret, token) = ROLE;
        let credentials = format!(
            "<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
             <SessionToken>{token}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
        );
        let result = format!("<Credentials>{credentials}</Credentials>");
        let user = "<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/bedrock/baton</Arn>\
                    <AssumedRoleId>AROA:baton</AssumedRoleId></AssumedRoleUser>";
        let xmlns = "https://sts.amazonaws.com/doc/2011-06-15/";
        let body = format!(
            "<AssumeRoleResponse xmlns=\"{xmlns}\"><AssumeRoleResult>{result}{user}\
             </AssumeRoleResult></AssumeRoleResponse>"
        );
        (200, body)
    } else {
        let error = "<Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message>";
        (403, format!("<ErrorResponse><Error>{error}</Error></ErrorResponse>"))
    };
    let mut reply = Reply::json(status, &serde_json::Value::Null);
    reply.headers = vec![("content-type".into(), "text/xml".into())];
    reply.body = Body::Whole(xml.into());
    reply
}
