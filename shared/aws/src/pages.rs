//! Listings, page by page. The SDK's paginators look at the marker alone and take a list that breaks off for whole.

use domain::failure::Failure;

use crate::operation::Operation;

/// How often in a row a listing may give the marker that it was asked with, as an empty page in between does.
const MAX_STANDSTILLS: u32 = 3;

/// Where a listing stands, by markers of a type: text, or in DynamoDB an item's key.
#[derive(Debug)]
pub struct Pages<M = String> {
    operation: Operation,
    next: Next,
    marker: Option<M>,
    standstills: u32,
}

/// What comes after the page that was read last.
#[derive(Debug)]
enum Next {
    Page,
    Nothing,
    /// The listing is not at its end and cannot go on.
    BrokenOff(&'static str),
}

impl<M: Clone + PartialEq> Pages<M> {
    /// The pages of a listing by that operation.
    pub fn of(operation: Operation) -> Self {
        Self { operation, next: Next::Page, marker: None, standstills: 0 }
    }

    /// The next page, by the marker to ask it with; `None` behind the last one. `turn` says of a page whether there are
    /// more, and by which marker.
    ///
    /// # Errors
    /// The call failed, or the page before breaks off: it says that there is more, but not where.
    pub async fn next<P>(
        &mut self,
        ask: impl AsyncFnOnce(Option<M>) -> Result<P, Failure>,
        turn: impl FnOnce(&P) -> (bool, Option<M>),
    ) -> Result<Option<P>, Failure> {
        match self.next {
            Next::Page => {}
            Next::Nothing => return Ok(None),
            Next::BrokenOff(why) => return Err(self.operation.unreadable(why)),
        }
        let page = ask(self.marker.clone()).await?;
        let (truncated, marker) = turn(&page);
        self.next = self.turn(truncated, marker);
        Ok(Some(page))
    }

    fn turn(&mut self, truncated: bool, marker: Option<M>) -> Next {
        if !truncated {
            return Next::Nothing;
        }
        if marker.is_none() {
            return Next::BrokenOff("the answer says Truncated and gives no marker");
        }
        self.standstills = if marker == self.marker { self.standstills + 1 } else { 0 };
        if self.standstills > MAX_STANDSTILLS {
            return Next::BrokenOff("the answers give the same marker again and again");
        }
        self.marker = marker;
        Next::Page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::LIST_KEYS;

    /// Asks for the next page, which says so of the one after it. The page is the marker that it was asked with, `""` for
    /// none.
    async fn turn(pages: &mut Pages, truncated: bool, marker: Option<&str>) -> Result<Option<String>, Failure> {
        let ask = async |asked_with: Option<String>| Ok(asked_with.unwrap_or_default());
        pages.next(ask, |_| (truncated, marker.map(str::to_owned))).await
    }

    #[tokio::test]
    async fn a_listing_goes_on_until_it_says_that_it_ends() {
        let mut pages = Pages::of(LIST_KEYS);
        assert_eq!(turn(&mut pages, true, Some("a")).await, Ok(Some(String::new())));
        // An empty page in between.
        assert_eq!(turn(&mut pages, true, Some("a")).await, Ok(Some("a".to_owned())));
        assert_eq!(turn(&mut pages, true, Some("b")).await, Ok(Some("a".to_owned())));
        assert_eq!(turn(&mut pages, false, Some("c")).await, Ok(Some("b".to_owned())));
        assert_eq!(turn(&mut pages, true, Some("d")).await, Ok(None));
    }

    #[tokio::test]
    async fn a_listing_that_breaks_off_gives_the_pages_before() {
        let mut pages = Pages::of(LIST_KEYS);
        assert_eq!(turn(&mut pages, true, None).await, Ok(Some(String::new())));
        let failure = turn(&mut pages, false, None).await.unwrap_err();
        assert_eq!((failure.service, failure.operation), ("kms", "ListKeys"));
        assert_eq!(failure.message, "the answer says Truncated and gives no marker");
    }

    #[tokio::test]
    async fn no_listing_is_without_end() {
        let mut pages = Pages::of(LIST_KEYS);
        let mut read = 0;
        while turn(&mut pages, true, Some("a")).await.is_ok() {
            read += 1;
            assert!(read < 10);
        }
        assert!(read > 1);
    }
}
