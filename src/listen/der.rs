//! Just enough DER to read when a certificate begins and ends (RFC 5280 section 4.1). Everything that matters for
//! security is read by rustls; this is for the gauge and the log, which warn of the end.

use crate::clock::Timestamp;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notBefore` and `notAfter` of a certificate; `None` when they cannot be read.
pub(super) fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let mut certificate = Der(Der(certificate).expect(SEQUENCE)?);
    let mut tbs = Der(certificate.expect(SEQUENCE)?);
    let (tag, _) = tbs.next()?;
    if tag == VERSION {
        tbs.next()?; // serial number
    }
    tbs.next()?; // signature algorithm
    tbs.next()?; // issuer
    let mut validity = Der(tbs.expect(SEQUENCE)?);
    let (tag, text) = validity.next()?;
    let not_before = time(tag, text)?;
    let (tag, text) = validity.next()?;
    Some((not_before, time(tag, text)?))
}

struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and contents.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(count)?;
            rest = after;
            bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        let (contents, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, contents))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, contents)| contents)
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = text.strip_suffix(b"Z")?;
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, until: usize| {
        text.get(from..until).map(|digits| {
            digits
                .iter()
                .fold(0, |n, digit| n * 10 + i64::from(digit - b'0'))
        })
    };
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year = number(0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        (GENERALIZED_TIME, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let part = |index: usize| number(rest + 2 * index, rest + 2 * index + 2);
    let (month, day) = (part(0)?, part(1)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds =
        days_from_civil(year, month, day) * 86_400 + part(2)? * 3600 + part(3)? * 60 + part(4)?;
    Some(Timestamp::from_secs(seconds))
}

/// Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_of_time_are_read() {
        let secs = |tag, text: &[u8]| time(tag, text).map(Timestamp::as_secs);
        assert_eq!(secs(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(secs(UTC_TIME, b"000229120000Z"), Some(951_825_600));
        assert_eq!(
            secs(GENERALIZED_TIME, b"20501231235959Z"),
            Some(2_556_143_999)
        );
        assert_eq!(
            secs(GENERALIZED_TIME, b"99991231235959Z"),
            Some(253_402_300_799)
        );
        assert_eq!(secs(UTC_TIME, b"7001010000Z"), None);
        assert_eq!(secs(UTC_TIME, b"701301000000Z"), None);
    }

    #[test]
    fn beginning_and_end_of_a_real_certificate_are_read() {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 9, 9);
        params.not_after = rcgen::date_time_ymd(2031, 5, 17);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(
            validity(certificate.der()).map(|(from, until)| (from.as_secs(), until.as_secs())),
            Some((999_993_600, 1_936_742_400))
        );
    }

    proptest! {
        #[test]
        fn no_bytes_can_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = validity(&bytes);
        }
    }
}
