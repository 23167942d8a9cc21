//! `WDFCOLLECTION` and `WDFSTRING`: the results of a multi-string registry query.
//!
//! The rule: a collection references its objects until it is deleted.

use alloc::vec::Vec;

use nt::{spinlock::SpinLock, unicode::Wide};
use wdk_sys::{NTSTATUS, STATUS_SUCCESS, UNICODE_STRING};

use crate::{
    abi::{DriverGlobals, Handle, ObjectAttributes},
    checks::Call,
    irql::{DISPATCH_LEVEL, PASSIVE_LEVEL},
    object::{Object, ObjectRef, Ref, Typed, attributes},
};

/// Objects in the order in which they were added.
pub(crate) struct Collection {
    items: SpinLock<Vec<ObjectRef>>,
}

impl Typed for Collection {
    const NAME: &str = "WDFCOLLECTION";

    fn dispose(&self, _object: &Object) {
        let items = core::mem::take(&mut *self.items.lock());
        for item in items {
            item.release("collection deletion");
        }
    }
}

/// A string.
pub(crate) struct StringObject {
    text: Wide,
}

impl Typed for StringObject {
    const NAME: &str = "WDFSTRING";
}

impl Collection {
    /// Adds an object.
    pub(crate) fn add(&self, object: ObjectRef) {
        object.reference();
        self.items.lock().push(object);
    }
}

impl StringObject {
    /// Creates a string object, below the driver if the attributes name no parent.
    pub(crate) fn create(
        call: &Call,
        text: Wide,
        string_attributes: Option<&ObjectAttributes>,
    ) -> Ref<Self> {
        Object::create(
            Self { text },
            call.client,
            parent(call, string_attributes).as_ref(),
            string_attributes,
        )
    }
}

fn parent(call: &Call, given: Option<&ObjectAttributes>) -> Option<ObjectRef> {
    match given.filter(|attributes| attributes.parent != 0) {
        Some(attributes) => Some(call.object(attributes.parent)),
        None => call.client.driver(),
    }
}

pub(crate) unsafe extern "system" fn collection_create(
    globals: *const DriverGlobals,
    collection_attributes: *const ObjectAttributes,
    collection: *mut Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfCollectionCreate", globals, DISPATCH_LEVEL);
    // SAFETY: the driver's attributes.
    let given = unsafe { attributes(&call, collection_attributes) };
    let value = Collection { items: SpinLock::new(Vec::new()) };
    let object =
        Object::create(value, call.client, parent(&call, given.as_ref()).as_ref(), given.as_ref());
    // SAFETY: the driver's out parameter.
    unsafe { call.write("Collection", collection, object.handle()) };
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn collection_get_count(
    globals: *const DriverGlobals,
    collection: Handle,
) -> u32 {
    let call = Call::enter("WdfCollectionGetCount", globals, DISPATCH_LEVEL);
    call.typed::<Collection>(collection).items.lock().len() as u32
}

pub(crate) unsafe extern "system" fn collection_get_item(
    globals: *const DriverGlobals,
    collection: Handle,
    index: u32,
) -> Handle {
    let call = Call::enter("WdfCollectionGetItem", globals, DISPATCH_LEVEL);
    call.typed::<Collection>(collection)
        .items
        .lock()
        .get(index as usize)
        .map_or(0, |item| item.handle)
}

pub(crate) unsafe extern "system" fn string_get_unicode_string(
    globals: *const DriverGlobals,
    string: Handle,
    out: *mut UNICODE_STRING,
) {
    let call = Call::enter("WdfStringGetUnicodeString", globals, PASSIVE_LEVEL);
    let string = call.typed::<StringObject>(string);
    // SAFETY: the driver's out parameter. The buffer lives as long as the string object, as the
    // function promises.
    unsafe { call.write("UnicodeString", out, string.text.borrow().raw()) };
}
