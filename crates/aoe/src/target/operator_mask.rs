//! The MAC mask list as the operator wants it. Where he has said one, it is set like a change of a client's, as soon as the export is
//! served, once for each time he says it; and clients cannot change it here.
//!
//! Another node that holds the disk may be told another list. The later change counts there as here, and nobody fights about it:
//! whoever runs both sees to it that they are told the same.

use block::ExportId;

use super::Target;
use super::change::Change;
use super::export::SmallState;
use super::output::Output;
use crate::limits::MAC_MASK_EDITED_MAX;
use crate::mac::MacAddress;

impl Target {
    /// The operator says who is to be listened to (nobody in the list: everybody), or leaves that to clients.
    pub(super) fn take_operator_mask(&mut self, id: ExportId, mask: Option<Vec<MacAddress>>) {
        assert!(
            mask.as_ref().is_none_or(|mask| mask.len() <= MAC_MASK_EDITED_MAX),
            "a configuration was checked when it was read"
        );
        let Some(export) = self.exports.find_mut(id) else { return };
        export.operator_mask_is_due = mask.is_some();
        export.operator_mask = mask;
        self.set_operator_mask(id);
    }

    /// Sets what is still to be set, if it can be now.
    pub(super) fn set_operator_mask(&mut self, id: ExportId) {
        let Some(export) = self.exports.find_mut(id) else { return };
        if !export.operator_mask_is_due || !export.is_serving() || export.change.is_some() {
            return;
        }
        export.operator_mask_is_due = false;
        let mac_mask = export.operator_mask.clone().unwrap_or_default();
        if export.state().mac_mask == mac_mask {
            return;
        }
        let state = SmallState { mac_mask, ..export.state().clone() };
        export.change = Some(Change::of_operator(state.clone()));
        self.push(Output::StoreState { export: id, state });
    }
}
