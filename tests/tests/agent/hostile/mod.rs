//! Desktops that want out, up or across. Each attempt is known to work where its
//! wall is missing: the same is done again without it, or by the host's root.

mod frames;
mod hunger;
mod kernel;
mod links;
mod network;

pub(crate) use frames::{Mac, send, udp, udp_socket, within};
pub(crate) use hunger::{
    a_disk_runs_full_inside_only, inotify_runs_out_inside_only, processes_run_out_inside_only,
};
pub(crate) use kernel::what_the_kernel_offers_is_refused;
pub(crate) use links::{a_display_that_is_a_link_is_not_followed, links_in_a_root_lead_nowhere};
pub(crate) use network::{
    counters, frames_in_anothers_name_are_dropped, heard, ipv6_has_walls_too, mac, nft,
    only_what_a_pool_allows_may_leave, parse as parse_mac, reaches,
    walls_are_mended_and_taken_away,
};
