//! The reasons for which DynamoDB cancels a transaction, grouped by how the caller has to react.

use super::StoreError;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata as _, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;

/// Nothing of the transaction was written.
pub(super) enum CancelledTransaction {
    /// The conditions of the actions at these positions did not hold.
    Conditions(Vec<usize>),
    /// Another transaction held the same items, or the table is throttled. A retry can succeed.
    Busy,
    /// An item has no room for its part at the moment.
    Full,
    /// DynamoDB rejects the content of the transaction. A retry fails as well.
    Refused(String),
    /// Any other failure.
    Failed(StoreError),
}

impl From<SdkError<TransactWriteItemsError>> for CancelledTransaction {
    fn from(error: SdkError<TransactWriteItemsError>) -> Self {
        let failed = |text| Self::Failed(StoreError::Database(text));
        let text = || DisplayErrorContext(&error).to_string();
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        else {
            let busy = ["Throttl", "ThroughputExceeded", "TransactionInProgress", "RequestLimit"];
            let Some(service) = error.as_service_error() else { return failed(text()) };
            return if busy.iter().any(|word| text().contains(word)) {
                Self::Busy
            } else if service.code() == Some("ValidationException") {
                Self::Refused(text())
            } else {
                failed(text())
            };
        };
        let reasons = cancelled.cancellation_reasons();
        let codes: Vec<&str> =
            reasons.iter().map(|reason| reason.code().unwrap_or_default()).collect();
        let is = |code: &&str| *code == "ConditionalCheckFailed";
        let conditions: Vec<usize> =
            codes.iter().enumerate().filter(|(_, code)| is(code)).map(|(index, _)| index).collect();
        let busy = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
        if !conditions.is_empty() {
            Self::Conditions(conditions)
        } else if codes.iter().any(|code| busy.contains(code)) {
            Self::Busy
        } else if reasons.iter().any(|reason| is_item_too_large(reason.message())) {
            Self::Full
        } else if codes.contains(&"ValidationError") {
            Self::Refused("a value is not valid".to_owned())
        } else {
            failed(format!("transaction cancelled: {}", codes.join(", ")))
        }
    }
}

/// Whether this is DynamoDB's message about an update that would make an item larger than 400 KB.
pub(super) fn is_item_too_large(message: Option<&str>) -> bool {
    message.is_some_and(|text| text.contains("Item size to update has exceeded"))
}
