//! Variables of the operator's commands and of the process. The `baton` program reads them.

use super::section::section;

section! {
    "Command line" {
        /// The operator's commands send their calls to this admin API.
        BATON_URL("URL").or("http://127.0.0.1:8081").read_by_program();
        /// The operator's commands take address and token from this profile.
        BATON_PROFILE("name of a profile").unless_set("the current profile").read_by_program();
        /// `baton doctor` checks the relay at this URL.
        ANTHROPIC_BASE_URL("URL").or("http://127.0.0.1:8080").read_by_program();
        /// `baton doctor` checks this key.
        ANTHROPIC_AUTH_TOKEN("relay key")
            .unless_set("the value of `ANTHROPIC_API_KEY`")
            .read_by_program();
        /// The process uses this many threads.
        TOKIO_WORKER_THREADS("number").unless_set("one for each core").read_by_program();
    }
}
