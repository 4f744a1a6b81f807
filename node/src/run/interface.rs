//! Says in the log when the interface under AF_XDP changes: datagrams go on through the kernel, or nowhere, and nothing else would tell.

use samara_dataplane::xdp::LinkState;

/// The last state that was said.
#[derive(Default)]
pub struct Interface {
    said: LinkState,
}

impl Interface {
    /// Looks about once a second; `state` is None where the port is another.
    pub fn look(&mut self, state: Option<LinkState>) {
        let Some(state) = state.filter(|state| *state != self.said) else { return };
        self.said = state;
        match state {
            LinkState::Up => tracing::info!(link = state.label(), "AF_XDP: the interface carries packets again"),
            LinkState::NoCarrier | LinkState::Down => {
                tracing::warn!(
                    link = state.label(),
                    "AF_XDP: nothing leaves through the interface until it is up again; what has another way takes the kernel's"
                );
            }
            LinkState::Gone => tracing::warn!(
                link = state.label(),
                "AF_XDP: the interface was deleted or moved away. Datagrams take the kernel's way, if there is one, until this validator is restarted: privileges to attach again were given up"
            ),
        }
    }
}
