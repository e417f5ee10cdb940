//! The `trevor` program.

/// Returns memory to the system, so that a package of any size leaves no trace.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    trevor::cli::main()
}
