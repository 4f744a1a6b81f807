//! The `samara` command: everything is in the library, so that tests can drive the same code.

fn main() -> std::process::ExitCode {
    samara_node::cli::main()
}
