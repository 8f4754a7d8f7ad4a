//! Where data is: the files of the local stores, or the tables, queues and keys on AWS.

use super::section::section;
use std::path::PathBuf;

section! {
    /// How long data is kept, and the local stores.
    #[derive(Clone)]
    StorageSettings("Data") {
        /// `baton up` keeps its database, queue and secrets in this folder.
        data_dir: PathBuf = BATON_DATA_DIR("folder").or(".baton");
        /// Baton deletes the record of a single request after this time; sums remain.
        event_days: u32 = BATON_EVENT_DAYS("days").or("400");
        /// The functions use the stores of `baton up --only-stores` at this URL; `cargo lambda
        /// watch` sets it.
        local_stores: Option<String> = BATON_LOCAL_STORES("URL").unless_set("AWS");
        /// The AWS SDK sends its calls to this endpoint; Baton then ignores `BATON_LOCAL_STORES`.
        aws_endpoint_url: Option<String> = AWS_ENDPOINT_URL("URL").unless_set("AWS");
    }
    others {
        /// `baton up` offers only the local stores, as with the flag `--only-stores`.
        BATON_ONLY_STORES("`true` or `false`").or("false").read_by_program();
    }
}

section! {
    /// The deployed resources, as `template.yaml` passes their names. On one machine the local
    /// stack fills them in.
    #[derive(Debug, Clone, PartialEq, Eq)]
    ResourceNames("AWS resources") {
        /// This table holds keys, groups, accounts, users and prices.
        config_table: String = BATON_CONFIG_TABLE("name of a DynamoDB table").set_by_template();
        /// This table holds limits, the health of accounts, leases and pending records.
        state_table: String = BATON_STATE_TABLE("name of a DynamoDB table").set_by_template();
        /// This table holds the record of each request, sums and the audit trail.
        usage_table: String = BATON_USAGE_TABLE("name of a DynamoDB table").set_by_template();
        /// The relay sends usage records to this queue.
        usage_queue_url: String = BATON_USAGE_QUEUE_URL("URL of an SQS queue").set_by_template();
        /// Usage records that cannot be stored are in this queue.
        dead_letter_queue_url: String =
            BATON_DEAD_LETTER_QUEUE_URL("URL of an SQS queue").set_by_template();
        /// This key encrypts the data key, which encrypts stored credentials.
        data_key_id: String = BATON_DATA_KEY_ID("id or ARN of a KMS key").set_by_template();
    }
}

impl ResourceNames {
    /// The names that `baton up --only-stores` uses, which are the logical names of the template.
    pub fn local() -> Self {
        let queue = |name: &str| format!("http://127.0.0.1/000000000000/{name}");
        Self {
            config_table: "ConfigTable".to_owned(),
            state_table: "StateTable".to_owned(),
            usage_table: "UsageTable".to_owned(),
            usage_queue_url: queue("UsageQueue"),
            dead_letter_queue_url: queue("UsageDeadLetterQueue"),
            data_key_id: "DataKey".to_owned(),
        }
    }
}
