//! Cutting lists into pages: by name, so that a page is right even if rows came or went since the page before.

use super::Error;

/// Rows of a page if nothing is asked for, and the most that may be asked for: 1,000 rows stay far below the largest
/// gRPC message of common clients (4 MiB) unless apps have many instances.
const ROWS_DEFAULT: usize = 500;
const ROWS_MAX: usize = 1_000;
/// Largest page, in encoded bytes; below the 4 MiB that gRPC clients take unless told otherwise.
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Sorts by name and returns the rows after `token`, at most `size` (0 for the default), and the token of the next page.
pub(super) fn page<R: prost::Message>(
    mut rows: Vec<R>,
    name: impl Fn(&R) -> &str,
    size: u32,
    token: &str,
) -> Result<(Vec<R>, String), Error> {
    let size = match usize::try_from(size).unwrap_or(usize::MAX) {
        0 => ROWS_DEFAULT,
        size if size <= ROWS_MAX => size,
        size => {
            let sentence = format!("{size} rows are more than one page may have");
            return Err(Error::invalid(sentence, format!("the bound is {ROWS_MAX}"), "ask for pages"));
        }
    };
    rows.sort_by(|one, other| name(one).cmp(name(other)));
    rows.retain(|row| token.is_empty() || name(row) > token);
    let mut bytes = 0;
    let fit = rows.iter().take(size).take_while(|row| {
        bytes += row.encoded_len();
        bytes <= PAGE_BYTES_MAX
    });
    let keep = fit.count().max(1); // a single row is sent however large it is
    let next = if rows.len() > keep { rows.get(keep - 1).map(|row| name(row).to_owned()) } else { None };
    rows.truncate(keep);
    Ok((rows, next.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_proto::v1::SourceRow;

    fn rows(names: &[&str]) -> Vec<SourceRow> {
        names.iter().map(|name| SourceRow { name: (*name).into(), ..SourceRow::default() }).collect()
    }

    #[test]
    fn pages_together_are_the_whole_list_once() {
        let mut token = String::new();
        let mut seen: Vec<String> = Vec::new();
        for _ in 0..4 {
            let (part, next) = page(rows(&["c", "a", "e", "b", "d"]), |row| &row.name, 2, &token).unwrap();
            seen.extend(part.into_iter().map(|row| row.name));
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn a_page_is_bounded_in_rows_and_bytes() {
        assert!(page(rows(&[]), |row| &row.name, 1_001, "").is_err());
        assert_eq!(page(rows(&[]), |row| &row.name, 0, "").unwrap(), (vec![], String::new()));
        let big =
            |name: &str| SourceRow { name: name.into(), url: "x".repeat(2 << 20), ..SourceRow::default() };
        let (part, next) = page(vec![big("a"), big("b")], |row| &row.name, 0, "").unwrap();
        assert_eq!((part.len(), next.as_str()), (1, "a"));
    }
}
