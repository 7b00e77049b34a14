//! A bundle cut into messages that the server takes.

use bytes::Bytes;

use super::{BUNDLE_MAX, Error};

/// Length of a part, in bytes: half of the server's `max_payload`, so that headers never matter.
pub(super) const PART: usize = 512 * 1024;

/// Cuts a bundle. An empty one is one empty part.
pub(super) fn cut(body: &Bytes) -> Result<Vec<Bytes>, Error> {
    if body.len() > BUNDLE_MAX {
        return Err(Error::TooLarge { what: "bundle", bytes: body.len(), max: BUNDLE_MAX });
    }
    let count = body.len().div_ceil(PART).max(1);
    Ok((0..count).map(|part| body.slice(part * PART..((part + 1) * PART).min(body.len()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_put_together_are_the_bundle() {
        for (length, parts) in [(0, 1), (1, 1), (PART, 1), (PART + 1, 2), (3 * PART, 3)] {
            let body = Bytes::from(vec![5; length]);
            let cut = cut(&body).unwrap();
            assert_eq!((cut.len(), cut.concat().len()), (parts, length));
        }
    }

    #[test]
    fn a_bundle_that_agents_would_refuse_is_refused() {
        assert!(matches!(cut(&Bytes::from(vec![0; BUNDLE_MAX + 1])), Err(Error::TooLarge { .. })));
    }
}
