//! The few calls of Cyclone DDS that are needed, made safe.
//!
//! Entities are numbers, checked by the library at each call; all of them go with the process.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::time::Duration;

use cyclors::*;
use method::{MAX_SIZE, Outcome};

/// What stands before a serialised sample: little-endian CDR, no options.
const CDR_HEADER: [u8; 4] = [0, 1, 0, 0];

/// How long a writer waits for room among what is not acknowledged yet.
const MOST_BLOCKING: Duration = Duration::from_secs(1);

/// Loopback alone, found without multicast.
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
        // SAFETY: defaults for what is null.
        Ok(Self(check(unsafe { dds_create_participant(domain, null(), null()) })?))
    }

    /// One that is `in_batches` gathers small samples into a datagram, until it is full.
    pub(crate) fn writer(&self, topic: &str, in_batches: bool) -> Outcome<Writer> {
        let (topic, qos) = (self.topic(topic)?, qos());
        // SAFETY: the quality of service was just made.
        unsafe { dds_qset_writer_batching(qos, in_batches) };
        // SAFETY: the quality of service was just made; defaults for what is null.
        let entity = check(unsafe { dds_create_writer(self.0, topic, qos, null()) })?;
        let mut sertype = null();
        // SAFETY: writes the one pointer, which lives as long as the topic.
        check(unsafe { dds_get_entity_sertype(entity, &raw mut sertype) })?;
        Ok(Writer { entity, sertype })
    }

    pub(crate) fn reader(&self, topic: &str) -> Outcome<Reader> {
        let (topic, qos) = (self.topic(topic)?, qos());
        // SAFETY: as for the writer.
        let entity = check(unsafe { dds_create_reader(self.0, topic, qos, null()) })?;
        // SAFETY: entities alone.
        let (waitset, condition) =
            unsafe { (dds_create_waitset(self.0), dds_create_readcondition(entity, DDS_ANY_STATE)) };
        let (waitset, condition) = (check(waitset)?, check(condition)?);
        // SAFETY: entities and a number.
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
        // SAFETY: the sample is copied before the first call returns; the second one takes it over.
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
        // SAFETY: an entity alone.
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
    /// Whether something came within `most`.
    pub(crate) fn wait(&self, most: Duration) -> Outcome<bool> {
        let most = i64::try_from(most.as_nanos()).unwrap_or(i64::MAX);
        // SAFETY: asks for no list of what has come.
        Ok(check(unsafe { dds_waitset_wait(self.waitset, null_mut(), 0, most) })? > 0)
    }

    /// Shows what has come.
    pub(crate) fn take(&self, mut see: impl FnMut(&[u8])) -> Outcome<()> {
        const AT_ONCE: usize = 64;
        let mut samples = [null_mut::<ddsi_serdata>(); AT_ONCE];
        let mut infos = MaybeUninit::<[dds_sample_info_t; AT_ONCE]>::zeroed();
        // SAFETY: at most as many are filled in as there is room for; all zeros are an info, too.
        let (count, infos) = unsafe {
            let (samples, most) = (samples.as_mut_ptr(), AT_ONCE as u32);
            let count =
                check(dds_takecdr(self.entity, samples, most, infos.as_mut_ptr().cast(), DDS_ANY_STATE))?;
            (usize::try_from(count)?, infos.assume_init())
        };
        for (sample, info) in samples.into_iter().zip(infos).take(count) {
            // SAFETY: each sample was handed over to us, and is given back once.
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
    // SAFETY: the bytes are valid until they are given back.
    unsafe {
        let size = ddsi_serdata_size(sample) as usize;
        let lent = ddsi_serdata_to_ser_ref(sample, 0, size, &raw mut part);
        let bytes = std::slice::from_raw_parts(part.iov_base.cast::<u8>(), size);
        see(bytes.get(CDR_HEADER.len()..).unwrap_or_default());
        ddsi_serdata_to_ser_unref(lent, &raw const part);
    }
}

/// Reliable, and nothing is dropped for something newer. The library copies it; a few bytes stay behind.
fn qos() -> *mut dds_qos_t {
    let most = i64::try_from(MOST_BLOCKING.as_nanos()).unwrap_or(i64::MAX);
    // SAFETY: made here, and set by the library's own functions.
    unsafe {
        let qos = dds_create_qos();
        dds_qset_reliability(qos, dds_reliability_kind_DDS_RELIABILITY_RELIABLE, most);
        dds_qset_history(qos, dds_history_kind_DDS_HISTORY_KEEP_ALL, DDS_LENGTH_UNLIMITED);
        qos
    }
}

/// What the library answers: an entity or a number, or what went wrong.
fn check(answer: i32) -> Outcome<i32> {
    if answer >= 0 {
        return Ok(answer);
    }
    // SAFETY: the library's own text, which stays.
    let why = unsafe { CStr::from_ptr(dds_strretcode(answer)) };
    Err(why.to_string_lossy().into())
}
