//! The form that filters a list.

use crate::api_call::{ConsoleApiError, ConsoleResult};
use crate::html_form::{FieldSpec, HtmlForm, in_labels};
use crate::page_blocks::PageBlock;
use crate::page_request::PageRequest;

/// The filter of one list. Its values are in the query of the page's address.
pub(crate) struct ListFilter {
    /// The address of the list.
    pub(crate) action: String,
    pub(crate) specs: Vec<FieldSpec>,
}

impl ListFilter {
    /// The form with the values of the request.
    pub(crate) fn form(&self, page_request: &PageRequest) -> PageBlock {
        self.form_with_error(page_request, None)
    }

    /// The page to show if the API does not return the list: the form with the reason, if a value of
    /// the filter is wrong.
    ///
    /// # Errors
    /// `error`, if it has another cause.
    pub(crate) fn rejected_page(
        &self,
        page_request: &PageRequest,
        title: &str,
        error: ConsoleApiError,
    ) -> ConsoleResult {
        if !error.is_form_error() {
            return Err(error);
        }
        let text = in_labels(&error.sentence(), &self.specs);
        let blocks = vec![self.form_with_error(page_request, Some(text))];
        Ok(page_request.render_rejected_page(title, blocks, &error))
    }

    fn form_with_error(&self, page_request: &PageRequest, error: Option<String>) -> PageBlock {
        let values = &page_request.query;
        let fields = self.specs.iter().map(|spec| spec.submitted_field(values)).collect();
        PageBlock::Form(
            HtmlForm::get("filter", &*self.action, "Filter").fields(fields).error(error),
        )
    }
}
