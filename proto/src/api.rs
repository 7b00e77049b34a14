//! What goes with the API beside its messages: descriptors for reflection, and errors that name the next step.

use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::v1::ErrorDetail;

/// Descriptors of all messages and services, encoded: what the reflection service serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/taffrail_descriptors.bin"));

/// Full name of the service, for health checks.
pub const FLEET_SERVICE: &str = "taffrail.v1.Fleet";

/// Metadata entry of a status that holds an encoded [`ErrorDetail`].
pub const ERROR_METADATA: &str = "taffrail-error-bin";

/// Longest cause or next step in an error, in bytes: HTTP/2 header lists are commonly limited to 16 KiB, and
/// base64 adds a third.
const DETAIL_BYTES_MAX: usize = 2_048;

/// Makes a status whose metadata carries `detail`; long texts are cut.
pub fn status_with_detail(code: Code, message: &str, mut detail: ErrorDetail) -> Status {
    cut(&mut detail.cause);
    cut(&mut detail.next);
    let mut message = message.to_owned();
    cut(&mut message);
    let mut status = Status::new(code, message);
    status.metadata_mut().insert_bin(ERROR_METADATA, MetadataValue::from_bytes(&detail.encode_to_vec()));
    status
}

/// Reads the detail of a status; `None` if it has none or it cannot be read.
pub fn detail_of(status: &Status) -> Option<ErrorDetail> {
    let bytes = status.metadata().get_bin(ERROR_METADATA)?.to_bytes().ok()?;
    ErrorDetail::decode(bytes).ok()
}

fn cut(text: &mut String) {
    if text.len() > DETAIL_BYTES_MAX {
        let end = (0..=DETAIL_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(cause: &str) -> ErrorDetail {
        ErrorDetail { code: "API-002".into(), cause: cause.into(), next: "taffrail get apps".into() }
    }

    #[test]
    fn a_status_carries_its_detail_there_and_back() {
        let status = status_with_detail(Code::NotFound, "no app is called x", detail("a typing error?"));
        assert_eq!(detail_of(&status), Some(detail("a typing error?")));
        assert_eq!((status.code(), status.message()), (Code::NotFound, "no app is called x"));
    }

    #[test]
    fn a_long_cause_is_cut_at_a_character() {
        let status = status_with_detail(Code::Internal, "x", detail(&"ü".repeat(5_000)));
        let cause = detail_of(&status).unwrap().cause;
        assert!(cause.len() <= DETAIL_BYTES_MAX + '…'.len_utf8() && cause.ends_with('…'));
    }

    #[test]
    fn a_status_without_detail_has_none() {
        assert_eq!(detail_of(&Status::internal("x")), None);
    }

    #[test]
    fn the_descriptor_set_names_the_service() {
        let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let names: Vec<&str> = set
            .file
            .iter()
            .flat_map(|file| &file.service)
            .map(prost_types::ServiceDescriptorProto::name)
            .collect();
        assert!(names.contains(&"Fleet"), "{names:?}");
    }
}
