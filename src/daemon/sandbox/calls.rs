//! Which system calls are refused, by name. Refused means EPERM, so that a program that can do without goes on.

use std::collections::BTreeMap;

use nix::libc::{self, c_int, c_long};
use seccompiler::SeccompAction::{Allow, Errno};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// All that a data thread calls. Arguments are not looked at, so that the kernel lets these pass without running a
/// filter.
const DATA_PATH: &[c_long] = &[
    // Packets, datagrams, wake-ups, the log.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    // Who uses a socket last closes it.
    libc::SYS_close,
    // Where the processor's clock will not do.
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    // Memory; see also `refuse_executable_memory`.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_sched_getaffinity,
    // Signals, an abort, the end.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What neither control nor a hook has any business with.
const DANGEROUS: &[c_long] = &[
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Wide doors into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_personality,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    // Its code, its log, its hardware.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    libc::SYS_kexec_file_load,
    libc::SYS_syslog,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    // Keys.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Mounts and namespaces; see also `NAMESPACES`.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Files past their directories.
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // The system as a whole: its clock, name, disks, end.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_vhangup,
    libc::SYS_reboot,
];

/// With one of these, clone(2) makes a namespace.
const NAMESPACES: [c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// As the unit has it: UDP and TCP, netlink, and the sockets of systemd, the journal and systemd-resolved.
const FAMILIES: [c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

const REFUSED: SeccompAction = Errno(libc::EPERM as u32);

/// Refuses this thread all but [`DATA_PATH`], memory that cannot be executed, and signals to its own process.
pub(super) fn allow_data_path_only() -> anyhow::Result<()> {
    let mut allowed = always(DATA_PATH);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        allowed.insert(call, vec![only_if([(2, MaskedEq(libc::PROT_EXEC as u64), 0)])?]);
    }
    let own = std::process::id().into();
    allowed.insert(libc::SYS_tgkill, vec![only_if([(0, Eq, own)])?]);
    // Some builds of the standard library ask so, before they close a descriptor, whether it is open.
    allowed.insert(libc::SYS_fcntl, vec![only_if([(1, Eq, libc::F_GETFD as u64)])?]);
    Ok(apply_filter(&compile(allowed, Allow, REFUSED)?)?)
}

/// Refuses this thread, and whatever it starts, [`DANGEROUS`], new namespaces and sockets of other [`FAMILIES`].
pub(super) fn refuse_dangerous() -> anyhow::Result<()> {
    let mut refused = always(DANGEROUS);
    let makes = NAMESPACES.map(|flag| only_if([(0, MaskedEq(flag as u64), flag as u64)]));
    refused.insert(libc::SYS_clone, makes.into_iter().collect::<Result<_, _>>()?);
    let others = FAMILIES.map(|family| (0, Ne, family as u64));
    refused.insert(libc::SYS_socket, vec![only_if(others)?]);
    // Its flags lie where no filter sees them. The C libraries fall back to clone(2), as for a kernel that is too old.
    let clone3 = compile(always(&[libc::SYS_clone3]), Errno(libc::ENOSYS as u32), Allow)?;
    apply_filter(&clone3)?;
    Ok(apply_filter(&without_x32(compile(refused, REFUSED, Allow)?))?)
}

fn always(calls: &[c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// Of a call, that for which all of these hold: the number of an argument, and how its lower half compares with a
/// value.
fn only_if<const N: usize>(
    conditions: [(u8, SeccompCmpOp, u64); N],
) -> Result<SeccompRule, BackendError> {
    let conditions = conditions.into_iter().map(|(argument, comparison, value)| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// A program for the kernel: `listed` for what the rules name, `others` for the rest.
fn compile(
    rules: Rules,
    listed: SeccompAction,
    others: SeccompAction,
) -> anyhow::Result<BpfProgram> {
    let architecture = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, others, listed, architecture)?.try_into()?)
}

/// Refuses, before `program` is asked, the second set of numbers that many calls have on this processor.
#[cfg(target_arch = "x86_64")]
fn without_x32(program: BpfProgram) -> BpfProgram {
    use libc::{BPF_ABS, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    use seccompiler::sock_filter;
    /// `__X32_SYSCALL_BIT` of the kernel.
    const X32: u32 = 0x4000_0000;
    let step = |code: u32, jf, k| sock_filter { code: code as u16, jt: 0, jf, k };
    let mut steps = vec![
        // The number of the call, which comes first in `struct seccomp_data`.
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0),
        step(BPF_JMP | BPF_JGE | BPF_K, 1, X32),
        step(BPF_RET | BPF_K, 0, REFUSED.into()),
    ];
    steps.extend(program);
    steps
}

/// Only x86-64 has it.
#[cfg(not(target_arch = "x86_64"))]
fn without_x32(program: BpfProgram) -> BpfProgram {
    program
}
