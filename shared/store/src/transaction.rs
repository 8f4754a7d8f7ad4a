//! Transactions: their actions, the call, and the reasons for which DynamoDB cancels one, grouped by
//! how the caller has to react.

use crate::StoreError;
use crate::connection::StoreConnection;
use aws_sdk_dynamodb::error::{
    BuildError, DisplayErrorContext, ProvideErrorMetadata as _, SdkError,
};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::TransactWriteItem;
use aws_sdk_dynamodb::types::builders::{DeleteBuilder, PutBuilder, UpdateBuilder};

/// The most actions that DynamoDB accepts in one transaction.
pub const ACTIONS_MAX: usize = 100;

/// One action of a transaction. It is built when the transaction is sent, so that an action that
/// cannot be built fails the transaction instead of being left out.
pub(crate) enum TransactionAction {
    Put(PutBuilder),
    Update(UpdateBuilder),
    Delete(DeleteBuilder),
}

impl TransactionAction {
    fn build(self) -> Result<TransactWriteItem, BuildError> {
        let action = TransactWriteItem::builder();
        Ok(match self {
            Self::Put(put) => action.put(put.build()?),
            Self::Update(update) => action.update(update.build()?),
            Self::Delete(delete) => action.delete(delete.build()?),
        }
        .build())
    }
}

impl From<PutBuilder> for TransactionAction {
    fn from(put: PutBuilder) -> Self {
        Self::Put(put)
    }
}

impl From<UpdateBuilder> for TransactionAction {
    fn from(update: UpdateBuilder) -> Self {
        Self::Update(update)
    }
}

impl From<DeleteBuilder> for TransactionAction {
    fn from(delete: DeleteBuilder) -> Self {
        Self::Delete(delete)
    }
}

impl StoreConnection {
    /// Makes all changes of a transaction or none.
    pub(crate) async fn transact(
        &self,
        actions: Vec<TransactionAction>,
    ) -> Result<(), CancelledTransaction> {
        let actions: Result<Vec<_>, BuildError> =
            actions.into_iter().map(TransactionAction::build).collect();
        let actions = actions.map_err(|error| CancelledTransaction::Failed(error.into()))?;
        self.db.transact_write_items().set_transact_items(Some(actions)).send().await?;
        Ok(())
    }
}

/// Nothing of the transaction was written.
#[derive(Debug)]
pub(crate) enum CancelledTransaction {
    /// The conditions of the actions at these positions did not hold.
    Conditions(Vec<usize>),
    /// Another transaction held the same items. A retry can succeed.
    Contended,
    /// The table is throttled. A retry can succeed.
    Throttled(String),
    /// An item has no room for its part at the moment.
    Full,
    /// DynamoDB rejects the content of the transaction. A retry fails as well.
    Refused(String),
    /// Any other failure.
    Failed(StoreError),
}

impl From<SdkError<TransactWriteItemsError>> for CancelledTransaction {
    fn from(error: SdkError<TransactWriteItemsError>) -> Self {
        let text = || DisplayErrorContext(&error).to_string();
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        else {
            let busy = ["Throttl", "ThroughputExceeded", "TransactionInProgress", "RequestLimit"];
            let Some(service) = error.as_service_error() else {
                return Self::Failed(StoreError::Database(text()));
            };
            return if busy.iter().any(|word| text().contains(word)) {
                Self::Throttled(text())
            } else if service.code() == Some("ValidationException") {
                Self::Refused(text())
            } else {
                Self::Failed(StoreError::Database(text()))
            };
        };
        let reasons = cancelled.cancellation_reasons();
        let codes: Vec<&str> =
            reasons.iter().map(|reason| reason.code().unwrap_or_default()).collect();
        let is = |code: &&str| *code == "ConditionalCheckFailed";
        let conditions: Vec<usize> =
            codes.iter().enumerate().filter(|(_, code)| is(code)).map(|(index, _)| index).collect();
        let throttled = ["ThrottlingError", "ProvisionedThroughputExceeded"];
        if !conditions.is_empty() {
            Self::Conditions(conditions)
        } else if codes.contains(&"TransactionConflict") {
            Self::Contended
        } else if codes.iter().any(|code| throttled.contains(code)) {
            Self::Throttled(text())
        } else if reasons.iter().any(|reason| is_item_too_large(reason.message())) {
            Self::Full
        } else if codes.contains(&"ValidationError") {
            Self::Refused("a value is not valid".to_owned())
        } else {
            let codes = codes.join(", ");
            Self::Failed(StoreError::Database(format!("transaction cancelled: {codes}")))
        }
    }
}

/// For a transaction that is not tried again.
impl From<CancelledTransaction> for StoreError {
    fn from(cancelled: CancelledTransaction) -> Self {
        match cancelled {
            CancelledTransaction::Conditions(_) | CancelledTransaction::Contended => Self::Conflict,
            CancelledTransaction::Throttled(reason) | CancelledTransaction::Refused(reason) => {
                Self::Database(reason)
            }
            CancelledTransaction::Full => Self::Database("an item has no room".to_owned()),
            CancelledTransaction::Failed(error) => error,
        }
    }
}

/// Whether this is DynamoDB's message about an update that would make an item larger than 400 KB.
pub(crate) fn is_item_too_large(message: Option<&str>) -> bool {
    message.is_some_and(|text| text.contains("Item size to update has exceeded"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestTables;
    use aws_sdk_dynamodb::types::Put;

    #[tokio::test]
    async fn action_that_cannot_be_built_fails_the_transaction() {
        let tables = TestTables::open().await;
        let result = tables.connect(&[]).transact(vec![Put::builder().into()]).await;
        let Err(CancelledTransaction::Failed(error)) = result else { panic!("{result:?}") };
        assert!(matches!(error, StoreError::InvalidRequest(_)), "{error}");
    }
}
