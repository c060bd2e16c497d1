//! Safe wrappers for the calls of Cyclone DDS that the benchmark needs.
//!
//! Entities are numbers, which the library checks at each call. They are released when the process ends.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::time::Duration;

use cyclors::*;
use method::{MAX_SIZE, Outcome};

/// The header of a serialised sample: little-endian CDR without options.
const CDR_HEADER: [u8; 4] = [0, 1, 0, 0];

/// How long a writer waits for room while too many samples are not acknowledged.
const MOST_BLOCKING: Duration = Duration::from_secs(1);

/// The configuration: loopback only, and discovery without multicast.
const CONFIGURATION: &CStr = c"<CycloneDDS><Domain><General>\
<Interfaces><NetworkInterface address=\"127.0.0.1\" multicast=\"false\"/></Interfaces>\
<AllowMulticast>false</AllowMulticast></General>\
<Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>8</MaxAutoParticipantIndex>\
<Peers><Peer address=\"127.0.0.1\"/></Peers></Discovery>\
</Domain></CycloneDDS>";

pub(crate) struct Participant(dds_entity_t);

pub(crate) struct Writer {
    entity: dds_entity_t,
    sertype: *const ddsi_sertype,
}

pub(crate) struct Reader {
    entity: dds_entity_t,
    waitset: dds_entity_t,
}

impl Participant {
    pub(crate) fn join(domain: u32) -> Outcome<Self> {
        // SAFETY: the configuration ends with a zero; the library copies it.
        check(unsafe { dds_create_domain(domain, CONFIGURATION.as_ptr()) })?;
        // SAFETY: null pointers select the defaults.
        Ok(Self(check(unsafe { dds_create_participant(domain, null(), null()) })?))
    }

    /// Creates a writer. With `in_batches` it collects small samples until a datagram is full.
    pub(crate) fn writer(&self, topic: &str, in_batches: bool) -> Outcome<Writer> {
        let (topic, qos) = (self.topic(topic)?, qos());
        // SAFETY: the quality of service was just created.
        unsafe { dds_qset_writer_batching(qos, in_batches) };
        // SAFETY: the quality of service was just created; null pointers select the defaults.
        let entity = check(unsafe { dds_create_writer(self.0, topic, qos, null()) })?;
        let mut sertype = null();
        // SAFETY: the call writes one pointer, which is valid as long as the topic.
        check(unsafe { dds_get_entity_sertype(entity, &raw mut sertype) })?;
        Ok(Writer { entity, sertype })
    }

    pub(crate) fn reader(&self, topic: &str) -> Outcome<Reader> {
        let (topic, qos) = (self.topic(topic)?, qos());
        // SAFETY: the quality of service was just created; null pointers select the defaults.
        let entity = check(unsafe { dds_create_reader(self.0, topic, qos, null()) })?;
        // SAFETY: the arguments are entities only.
        let (waitset, condition) =
            unsafe { (dds_create_waitset(self.0), dds_create_readcondition(entity, DDS_ANY_STATE)) };
        let (waitset, condition) = (check(waitset)?, check(condition)?);
        // SAFETY: the arguments are entities and a number.
        check(unsafe { dds_waitset_attach(waitset, condition, 0) })?;
        Ok(Reader { entity, waitset })
    }

    fn topic(&self, name: &str) -> Outcome<dds_entity_t> {
        let (name, kind) = (CString::new(name)?, CString::new("bytes")?);
        // SAFETY: both texts end with a zero; the library copies them.
        check(unsafe {
            cdds_create_blob_topic(self.0, name.as_ptr().cast_mut(), kind.as_ptr().cast_mut(), true)
        })
    }
}

impl Writer {
    pub(crate) fn write(&self, message: &[u8]) -> Outcome<()> {
        let mut sample = [0; CDR_HEADER.len() + MAX_SIZE];
        let sample = sample.get_mut(..CDR_HEADER.len() + message.len()).ok_or("too long")?;
        sample[..CDR_HEADER.len()].copy_from_slice(&CDR_HEADER);
        sample[CDR_HEADER.len()..].copy_from_slice(message);
        let part = ddsrt_iovec_t { iov_base: sample.as_mut_ptr().cast(), iov_len: sample.len() as _ };
        // SAFETY: the first call copies the sample before it returns; the second call takes ownership of the copy.
        check(unsafe {
            let data = ddsi_serdata_from_ser_iov(
                self.sertype,
                ddsi_serdata_kind_SDK_DATA,
                1,
                &raw const part,
                sample.len(),
            );
            if data.is_null() {
                return Err("a sample cannot be made".into());
            }
            dds_writecdr(self.entity, data)
        })
        .map(drop)
    }

    pub(crate) fn flush(&self) -> Outcome<()> {
        // SAFETY: the argument is an entity only.
        check(unsafe { dds_write_flush(self.entity) }).map(drop)
    }

    pub(crate) fn is_matched(&self) -> Outcome<bool> {
        let mut status = MaybeUninit::<dds_publication_matched_status_t>::zeroed();
        // SAFETY: fills the status in; all zeros are one, too.
        let status = unsafe {
            check(dds_get_publication_matched_status(self.entity, status.as_mut_ptr()))?;
            status.assume_init()
        };
        Ok(status.current_count > 0)
    }
}

impl Reader {
    /// Waits up to `most`. Returns whether a sample arrived.
    pub(crate) fn wait(&self, most: Duration) -> Outcome<bool> {
        let most = i64::try_from(most.as_nanos()).unwrap_or(i64::MAX);
        // SAFETY: the null pointer and the length 0 mean that no list is written.
        Ok(check(unsafe { dds_waitset_wait(self.waitset, null_mut(), 0, most) })? > 0)
    }

    /// Passes the samples that have arrived to `see`.
    pub(crate) fn take(&self, mut see: impl FnMut(&[u8])) -> Outcome<()> {
        const AT_ONCE: usize = 64;
        let mut samples = [null_mut::<ddsi_serdata>(); AT_ONCE];
        let mut infos = MaybeUninit::<[dds_sample_info_t; AT_ONCE]>::zeroed();
        // SAFETY: the call fills in at most `most` entries; an info of zeros is valid too.
        let (count, infos) = unsafe {
            let (samples, most) = (samples.as_mut_ptr(), AT_ONCE as u32);
            let count =
                check(dds_takecdr(self.entity, samples, most, infos.as_mut_ptr().cast(), DDS_ANY_STATE))?;
            (usize::try_from(count)?, infos.assume_init())
        };
        for (sample, info) in samples.into_iter().zip(infos).take(count) {
            // SAFETY: this function owns each sample and releases it exactly once.
            unsafe {
                if info.valid_data {
                    show(sample, &mut see);
                }
                ddsi_serdata_unref(sample);
            }
        }
        Ok(())
    }

    pub(crate) fn is_matched(&self) -> Outcome<bool> {
        let mut status = MaybeUninit::<dds_subscription_matched_status_t>::zeroed();
        // SAFETY: fills the status in; all zeros are one, too.
        let status = unsafe {
            check(dds_get_subscription_matched_status(self.entity, status.as_mut_ptr()))?;
            status.assume_init()
        };
        Ok(status.current_count > 0)
    }
}

/// # Safety
///
/// `sample` is valid.
unsafe fn show(sample: *mut ddsi_serdata, see: &mut impl FnMut(&[u8])) {
    let mut part = ddsrt_iovec_t { iov_base: null_mut(), iov_len: 0 };
    // SAFETY: the bytes are valid until `ddsi_serdata_to_ser_unref`.
    unsafe {
        let size = ddsi_serdata_size(sample) as usize;
        let lent = ddsi_serdata_to_ser_ref(sample, 0, size, &raw mut part);
        let bytes = std::slice::from_raw_parts(part.iov_base.cast::<u8>(), size);
        see(bytes.get(CDR_HEADER.len()..).unwrap_or_default());
        ddsi_serdata_to_ser_unref(lent, &raw const part);
    }
}

/// Returns a quality of service that is reliable and keeps all samples. The library copies it, and these few bytes are
/// never freed.
fn qos() -> *mut dds_qos_t {
    let most = i64::try_from(MOST_BLOCKING.as_nanos()).unwrap_or(i64::MAX);
    // SAFETY: it is created here, and only the library's functions change it.
    unsafe {
        let qos = dds_create_qos();
        dds_qset_reliability(qos, dds_reliability_kind_DDS_RELIABILITY_RELIABLE, most);
        dds_qset_history(qos, dds_history_kind_DDS_HISTORY_KEEP_ALL, DDS_LENGTH_UNLIMITED);
        qos
    }
}

/// Turns an answer of the library into an entity or number, or into an error with the library's text.
fn check(answer: i32) -> Outcome<i32> {
    if answer >= 0 {
        return Ok(answer);
    }
    // SAFETY: the library returns a static text.
    let why = unsafe { CStr::from_ptr(dds_strretcode(answer)) };
    Err(why.to_string_lossy().into())
}
