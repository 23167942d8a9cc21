//! Framework objects: handles, context spaces, the tree of parents and children, deletion.
//!
//! The rules:
//! - a handle is a key of a table, with a generation in it; a stale or foreign handle is always
//!   recognised;
//! - deleting an object cleans up its children first, in the order of their creation, then itself
//!   (`EvtCleanupCallback`), then destroys them in the same order (`EvtDestroyCallback`), each when
//!   its last reference is gone;
//! - a context space lives as long as its object.

use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec,
    vec::Vec,
};
use core::{
    any::Any,
    ffi::c_void,
    marker::PhantomData,
    ops::Deref,
    sync::atomic::{AtomicI32, AtomicU8, Ordering},
};

use nt::spinlock::SpinLock;

use crate::{
    abi::{ContextTypeInfo, DriverGlobals, Handle, Notify, ObjectAttributes},
    checks::{Call, violation},
    client::Client,
    device::{self, Device},
    irql::{DISPATCH_LEVEL, PASSIVE_LEVEL, require_at_most},
};

/// A counted reference of the rig to an object. Drivers' references are counted in the object.
pub(crate) type ObjectRef = Arc<Object>;

/// A framework object.
pub(crate) struct Object {
    pub(crate) handle: Handle,
    value: Box<dyn Value>,
    pub(crate) client: &'static Client,
    contexts: SpinLock<Vec<Context>>,
    tree: SpinLock<Tree>,
    /// References that the driver holds, plus one until the object is deleted.
    references: AtomicI32,
    state: AtomicU8,
}

/// A type that objects can have.
pub(crate) trait Typed: Any + Send + Sync {
    /// The handle type's name.
    const NAME: &'static str;

    /// Why the driver must not delete the object.
    fn undeletable(&self) -> Option<&'static str> {
        None
    }

    /// The type's own part of cleanup, before the driver's cleanup callback.
    fn dispose(&self, _object: &Object) {}
}

/// [`Typed`], for an object of any type.
trait Value: Any + Send + Sync {
    fn name(&self) -> &'static str;
    fn undeletable(&self) -> Option<&'static str>;
    fn dispose(&self, object: &Object);
}

impl<T: Typed> Value for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn undeletable(&self) -> Option<&'static str> {
        Typed::undeletable(self)
    }

    fn dispose(&self, object: &Object) {
        Typed::dispose(self, object);
    }
}

/// A reference to an object of a known type.
pub(crate) struct Ref<T: Typed> {
    object: ObjectRef,
    kind: PhantomData<T>,
}

struct Tree {
    parent: Weak<Object>,
    children: Vec<ObjectRef>,
}

/// A context space and callbacks, from one `WDF_OBJECT_ATTRIBUTES`.
struct Context {
    space_type: *const ContextTypeInfo,
    memory: Option<Box<[ContextUnit]>>,
    cleanup: Option<Notify>,
    destroy: Option<Notify>,
}

// SAFETY: the raw pointers are the driver's static type descriptions and callbacks.
unsafe impl Send for Context {}

/// Context spaces are aligned as pool memory is.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct ContextUnit([u64; 2]);

const LIVE: u8 = 0;
const DELETING: u8 = 1;
const CLEANED_UP: u8 = 2;

impl Object {
    /// Creates an object below a parent, with the context space that the attributes ask for.
    pub(crate) fn create<T: Typed>(
        value: T,
        client: &'static Client,
        parent: Option<&ObjectRef>,
        attributes: Option<&ObjectAttributes>,
    ) -> Ref<T> {
        let handle = table::reserve();
        let object = Arc::new(Self {
            handle,
            value: Box::new(value),
            client,
            contexts: SpinLock::new(Vec::new()),
            tree: SpinLock::new(Tree {
                parent: parent.map_or_else(Weak::new, Arc::downgrade),
                children: Vec::new(),
            }),
            references: AtomicI32::new(1),
            state: AtomicU8::new(LIVE),
        });
        if let Some(attributes) = attributes {
            object.add_context(attributes);
        }
        table::publish(handle, &object);
        if let Some(parent) = parent {
            parent.tree.lock().children.push(Arc::clone(&object));
        }
        Ref { object, kind: PhantomData }
    }

    /// The handle type's name.
    pub(crate) fn type_name(&self) -> &'static str {
        self.value.name()
    }

    /// The object's parent, while it has one.
    pub(crate) fn parent(&self) -> Option<ObjectRef> {
        self.tree.lock().parent.upgrade()
    }

    /// Whether deletion has begun.
    pub(crate) fn is_deleted(&self) -> bool {
        // Acquire: pairs with the deleter's exchange.
        self.state.load(Ordering::Acquire) != LIVE
    }

    /// Deletes the object: cleanup, then destruction when the last reference goes.
    pub(crate) fn delete(self: &ObjectRef, function: &str) {
        self.clean_up(function);
        self.destroy_after_cleanup();
    }

    /// The first half of deletion: children and then the object are cleaned up, but handles stay
    /// valid.
    ///
    /// The framework does this to a device before it forwards the remove request.
    pub(crate) fn clean_up(self: &ObjectRef, function: &str) {
        // AcqRel: the winner sees everything done to the object before.
        if self.state.compare_exchange(LIVE, DELETING, Ordering::AcqRel, Ordering::Acquire).is_err()
        {
            violation!(
                State,
                function,
                "{} {:#x} is being deleted already",
                self.type_name(),
                self.handle
            );
        }
        let children = self.tree.lock().children.clone();
        for child in &children {
            if !child.is_deleted() {
                child.clean_up(function);
            }
        }
        self.value.dispose(self);
        let callbacks: Vec<Notify> =
            self.contexts.lock().iter().filter_map(|context| context.cleanup).collect();
        for callback in callbacks {
            // SAFETY: the driver's own callback, with the handle of its live object.
            unsafe { callback(self.handle) };
        }
        // Release: pairs with `destroy_after_cleanup` on another thread.
        self.state.store(CLEANED_UP, Ordering::Release);
    }

    /// The second half of deletion.
    pub(crate) fn destroy_after_cleanup(self: &ObjectRef) {
        let children = core::mem::take(&mut self.tree.lock().children);
        for child in &children {
            // Acquire: a child that another thread is deleting is destroyed by that thread.
            if child.state.load(Ordering::Acquire) == CLEANED_UP {
                child.destroy_after_cleanup();
            }
        }
        if let Some(parent) = self.parent() {
            parent.tree.lock().children.retain(|child| !Arc::ptr_eq(child, self));
        }
        self.release("object deletion");
    }

    /// `WdfObjectReference`
    pub(crate) fn reference(&self) {
        // Relaxed: the caller holds a reference, so the object cannot go away meanwhile.
        self.references.fetch_add(1, Ordering::Relaxed);
    }

    /// `WdfObjectDereference`
    pub(crate) fn release(self: &ObjectRef, function: &str) {
        // AcqRel: the last holder sees the work of the others.
        let before = self.references.fetch_sub(1, Ordering::AcqRel);
        if before <= 0 {
            violation!(
                State,
                function,
                "{} {:#x} has no reference left to release",
                self.type_name(),
                self.handle
            );
        }
        if before > 1 {
            return;
        }
        if !self.is_deleted() {
            violation!(
                State,
                function,
                "the reference that keeps {} {:#x} alive was released",
                self.type_name(),
                self.handle
            );
        }
        let callbacks: Vec<Notify> =
            self.contexts.lock().iter().filter_map(|context| context.destroy).collect();
        for callback in callbacks {
            // SAFETY: the driver's own callback, with the handle of its object, whose contexts are
            // still there.
            unsafe { callback(self.handle) };
        }
        table::remove(self.handle);
    }

    /// The driver's part of the context space of a type, or null.
    fn context(&self, context_type: *const ContextTypeInfo) -> *mut c_void {
        let mut contexts = self.contexts.lock();
        let found = contexts
            .iter_mut()
            .filter(|context| core::ptr::eq(context.space_type, context_type))
            .find_map(|context| context.memory.as_mut());
        found.map_or(core::ptr::null_mut(), |memory| memory.as_mut_ptr().cast())
    }

    fn add_context(&self, attributes: &ObjectAttributes) {
        let memory = (!attributes.context_type.is_null()).then(|| {
            // SAFETY: a driver's type description is static.
            let described = unsafe { (*attributes.context_type).context_size };
            let size = if attributes.context_size_override > 0 {
                attributes.context_size_override
            } else {
                described
            };
            let units = size.div_ceil(size_of::<ContextUnit>());
            vec![ContextUnit([0; 2]); units].into_boxed_slice()
        });
        self.contexts.lock().push(Context {
            space_type: attributes.context_type,
            memory,
            cleanup: attributes.evt_cleanup,
            destroy: attributes.evt_destroy,
        });
    }
}

impl<T: Typed> Ref<T> {
    /// The object as one of type `T`, if it is.
    pub(crate) fn new(object: ObjectRef) -> Option<Self> {
        let value: &dyn Any = &*object.value;
        value.is::<T>().then_some(Self { object, kind: PhantomData })
    }

    /// The untyped object.
    pub(crate) fn object(&self) -> &ObjectRef {
        &self.object
    }

    /// The object's handle.
    pub(crate) fn handle(&self) -> Handle {
        self.object.handle
    }
}

impl<T: Typed> Clone for Ref<T> {
    fn clone(&self) -> Self {
        Self { object: Arc::clone(&self.object), kind: PhantomData }
    }
}

impl<T: Typed> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let value: &dyn Any = &*self.object.value;
        value.downcast_ref().expect("the type was checked when the reference was made")
    }
}

/// The live object behind a handle.
pub(crate) fn look_up(handle: Handle) -> Option<ObjectRef> {
    table::get(handle)
}

/// The handles and types of all objects of a driver.
pub(crate) fn objects_of(client: &Client) -> Vec<(&'static str, Handle)> {
    table::all()
        .iter()
        .filter(|object| core::ptr::eq(object.client, client))
        .map(|object| (object.type_name(), object.handle))
        .collect()
}

/// Reads optional object attributes.
///
/// # Safety
/// `attributes` is null or points at the driver's attributes.
pub(crate) unsafe fn attributes(
    call: &Call,
    attributes: *const ObjectAttributes,
) -> Option<ObjectAttributes> {
    if attributes.is_null() {
        return None;
    }
    // SAFETY: not null, so valid, as the caller says.
    Some(unsafe { call.structure("WDF_OBJECT_ATTRIBUTES", attributes) })
}

pub(crate) unsafe extern "system" fn object_get_typed_context_worker(
    globals: *const DriverGlobals,
    handle: Handle,
    context_type: *const ContextTypeInfo,
) -> *mut c_void {
    let call = Call::enter("WdfObjectGetTypedContextWorker", globals, DISPATCH_LEVEL);
    if context_type.is_null() {
        violation!(Parameter, call.function, "TypeInfo is null");
    }
    call.object(handle).context(context_type)
}

pub(crate) unsafe extern "system" fn object_delete(globals: *const DriverGlobals, handle: Handle) {
    let call = Call::enter("WdfObjectDelete", globals, DISPATCH_LEVEL);
    let object = call.object(handle);
    if let Some(why) = object.value.undeletable() {
        violation!(State, call.function, "{why}");
    }
    if let Some(device) = Ref::<Device>::new(Arc::clone(&object)) {
        require_at_most(call.function, PASSIVE_LEVEL);
        device::tear_down(&device, call.function);
    } else {
        object.delete(call.function);
    }
}

pub(crate) unsafe extern "system" fn object_reference_actual(
    globals: *const DriverGlobals,
    handle: Handle,
    _tag: *const c_void,
    _line: i32,
    _file: *const c_void,
) {
    let call = Call::enter("WdfObjectReferenceActual", globals, DISPATCH_LEVEL);
    call.object(handle).reference();
}

/// All handles, by number.
mod table {
    use super::{Arc, Handle, ObjectRef, SpinLock, Vec};

    /// Parts of a handle: a tag that makes the number a non-canonical address, a generation, a slot
    /// number.
    const TAG: usize = 0x5744 << 48;
    const SLOT_BITS: u32 = 20;
    const GENERATION_MASK: usize = (1 << 28) - 1;

    struct Slot {
        generation: usize,
        object: Option<ObjectRef>,
    }

    struct Table {
        slots: Vec<Slot>,
        free: Vec<usize>,
    }

    static TABLE: SpinLock<Table> = SpinLock::new(Table { slots: Vec::new(), free: Vec::new() });

    pub(super) fn reserve() -> Handle {
        let mut table = TABLE.lock();
        let index = if let Some(index) = table.free.pop() {
            index
        } else {
            table.slots.push(Slot { generation: 0, object: None });
            table.slots.len() - 1
        };
        assert!(index >> SLOT_BITS == 0, "more than a million framework objects at once");
        TAG | (table.slots[index].generation << SLOT_BITS) | index
    }

    pub(super) fn publish(handle: Handle, object: &ObjectRef) {
        TABLE.lock().slots[index_of(handle)].object = Some(Arc::clone(object));
    }

    pub(super) fn get(handle: Handle) -> Option<ObjectRef> {
        if handle >> 48 != TAG >> 48 {
            return None;
        }
        let table = TABLE.lock();
        let slot = table.slots.get(index_of(handle))?;
        if slot.generation != generation_of(handle) {
            return None;
        }
        slot.object.clone()
    }

    pub(super) fn remove(handle: Handle) {
        let mut table = TABLE.lock();
        let index = index_of(handle);
        let slot = &mut table.slots[index];
        let removed = slot.object.take();
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        table.free.push(index);
        drop(table);
        // Outside the lock: this may be the last reference.
        drop(removed);
    }

    pub(super) fn all() -> Vec<ObjectRef> {
        TABLE.lock().slots.iter().filter_map(|slot| slot.object.clone()).collect()
    }

    fn index_of(handle: Handle) -> usize {
        handle & ((1 << SLOT_BITS) - 1)
    }

    fn generation_of(handle: Handle) -> usize {
        (handle >> SLOT_BITS) & GENERATION_MASK
    }
}
