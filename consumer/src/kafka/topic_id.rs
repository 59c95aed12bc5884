//! The id that Kafka gives a topic when it is made (KIP-516): another id under the same name is
//! another topic.
//!
//! The `rdkafka` crate does not wrap DescribeTopics yet, so this module calls librdkafka itself; it
//! is the crate's only unsafe code.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as NO_ERROR;

/// The topic's id in base64, or nothing where the broker knows no topic ids or does not answer in
/// time.
pub(super) fn topic_id<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Option<String> {
    let name = CString::new(topic).ok()?;
    // Only the controller is asked for topics. librdkafka's own cluster names one that is not
    // there, and would be waited for.
    // SAFETY: the client outlives this call.
    let controller = unsafe { sys::rd_kafka_controllerid(client.native_ptr(), 0) };
    let metadata = client.fetch_metadata(Some(topic), timeout).ok()?;
    metadata.brokers().iter().find(|broker| broker.id() == controller)?;
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client outlives this call. Every object made here is destroyed once by its guard,
    // in reverse order of making: the event, which owns the result and all that is read from it,
    // before the queue it came from. librdkafka copies the topic's name, and the id's text lives in
    // the result, so it is copied before the event goes.
    unsafe {
        let mut names = [name.as_ptr()];
        let collection = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let _collection = Guard(collection, sys::rd_kafka_TopicCollection_destroy);

        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = sys::rd_kafka_AdminOptions_new(client.native_ptr(), operation);
        let _options = Guard(options, sys::rd_kafka_AdminOptions_destroy);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, ptr::null_mut(), 0);

        let queue = sys::rd_kafka_queue_new(client.native_ptr());
        let _queue = Guard(queue, sys::rd_kafka_queue_destroy);
        sys::rd_kafka_DescribeTopics(client.native_ptr(), collection, options, queue);

        let event = sys::rd_kafka_queue_poll(queue, milliseconds);
        if event.is_null() {
            return None;
        }
        let _event = Guard(event, sys::rd_kafka_event_destroy);
        if sys::rd_kafka_event_error(event) != NO_ERROR {
            return None;
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count == 0 {
            return None;
        }
        let description = *topics;
        let error = sys::rd_kafka_TopicDescription_error(description);
        if !error.is_null() && sys::rd_kafka_error_code(error) != NO_ERROR {
            return None;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(description);
        if id.is_null() {
            return None;
        }
        let text = sys::rd_kafka_Uuid_base64str(id);
        if text.is_null() {
            return None;
        }
        let text = CStr::from_ptr(text).to_str().ok()?.to_owned();
        // All zeros: a broker without topic ids.
        (!text.trim_matches('A').is_empty()).then_some(text)
    }
}

/// Destroys what librdkafka made when it goes out of scope.
struct Guard<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the constructor that belongs to this destructor, and a
        // guard is dropped once.
        unsafe { (self.1)(self.0) }
    }
}
