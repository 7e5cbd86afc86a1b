//! A client on Teaclave's `optee-teec`, of the TA beside it.

use optee_teec::{
    Context, ErrorKind, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue, Session, Uuid,
};

const TA: &str = "7a11e110-0100-4c6e-8d01-5ec0de000100";
const CMD_INCREMENT: u32 = 0;
const CMD_REVERSE: u32 = 1;
const CMD_PANIC: u32 = 4;

fn main() -> optee_teec::Result<()> {
    let mut context = Context::new()?;
    let mut session = context.open_session(Uuid::parse_str(TA)?)?;

    let number = ParamValue::new(41, 0, ParamType::ValueInout);
    let mut operation = Operation::new(0, number, ParamNone, ParamNone, ParamNone);
    session.invoke_command(CMD_INCREMENT, &mut operation)?;
    println!("incremented to {}", operation.parameters().0.a());

    let mut reversed = [0; 8];
    let len = reverse(&mut session, b"Teaclave", &mut reversed)?;
    println!("reversed {} to {}", len, String::from_utf8_lossy(&reversed));

    let short = reverse(&mut session, b"Teaclave", &mut [0; 4]);
    println!(
        "too little room is {:?}",
        short.map_err(|error| error.kind())
    );

    let mut nothing = Operation::new(0, ParamNone, ParamNone, ParamNone, ParamNone);
    let died = session.invoke_command(CMD_PANIC, &mut nothing);
    let died = died.map_err(|error| error.kind());
    println!("a panic is {died:?}");
    assert_eq!(died, Err(ErrorKind::TargetDead));
    Ok(())
}

fn reverse(session: &mut Session, from: &[u8], to: &mut [u8]) -> optee_teec::Result<usize> {
    let from = ParamTmpRef::new_input(from);
    let to = ParamTmpRef::new_output(to);
    let mut operation = Operation::new(0, from, to, ParamNone, ParamNone);
    session.invoke_command(CMD_REVERSE, &mut operation)?;
    Ok(operation.parameters().1.updated_size())
}
