use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const LONG: Duration = Duration::from_secs(20);
const WIDTH: u16 = 61;
const HEIGHT: u16 = 20;

/// Greets, lets the viewer in, and reads what it sends before its first request.
async fn let_in(stream: &mut DuplexStream) {
    stream.write_all(b"RFB 003.008\n").await.unwrap();
    read(stream, 12).await;
    stream.write_all(&[2, 2, 1]).await.unwrap();
    assert_eq!(read(stream, 1).await, [1]);
    stream.write_all(&[0; 4]).await.unwrap();
    assert_eq!(read(stream, 1).await, [1]);
    let mut init = [WIDTH.to_be_bytes(), HEIGHT.to_be_bytes()].concat();
    init.extend([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
    init.extend([0, 0, 0, 2, b'h', b'i']);
    stream.write_all(&init).await.unwrap();
    assert_eq!(read(stream, 8).await, [2, 0, 0, 1, 0, 0, 0, 0]);
}

async fn read(stream: &mut DuplexStream, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    stream.read_exact(&mut buffer).await.unwrap();
    buffer
}

/// One update of one rectangle over `rows` rows, row `r` in colour `first + r`.
fn rows(rows: u16, first: u8) -> Vec<u8> {
    let mut update = vec![0, 0, 0, 1, 0, 0, 0, 0];
    update.extend([WIDTH.to_be_bytes(), rows.to_be_bytes()].concat());
    update.extend([0; 4]);
    for row in 0..rows {
        let colour = first + u8::try_from(row).unwrap();
        update.extend([colour, 0, 0, 0].repeat(WIDTH.into()));
    }
    update
}

#[tokio::test]
async fn drawn_is_the_first_picture_of_many_colours() {
    let (ours, mut theirs) = duplex(1 << 16);
    let server = async {
        let_in(&mut theirs).await;
        assert_eq!(read(&mut theirs, 10).await[..2], [3, 0], "a whole picture first");
        theirs.write_all(&rows(HEIGHT, 0)).await.unwrap();
    };
    let (seen, ()) = tokio::join!(watch(ours, Instant::now(), LONG), server);
    let seen = seen.unwrap();
    assert_eq!(seen.frames, 1);
    assert!(seen.banner <= seen.first_frame && seen.first_frame <= seen.drawn);
}

#[tokio::test]
async fn a_background_is_waited_out_and_other_messages_are_passed_over() {
    let (ours, mut theirs) = duplex(1 << 16);
    let server = async {
        let_in(&mut theirs).await;
        read(&mut theirs, 10).await;
        // A bell, a cut text, then a picture of 8 colours and black.
        theirs.write_all(&[2, 3, 0, 0, 0, 0, 0, 0, 1, b'x']).await.unwrap();
        theirs.write_all(&rows(7, 1)).await.unwrap();
        assert_eq!(read(&mut theirs, 10).await[..2], [3, 1], "then only changes");
        theirs.write_all(&rows(8, 1)).await.unwrap();
    };
    let (seen, ()) = tokio::join!(watch(ours, Instant::now(), LONG), server);
    assert_eq!(seen.unwrap().frames, 2);
}

#[tokio::test(start_paused = true)]
async fn a_screen_that_stays_plain_is_an_error() {
    let (ours, mut theirs) = duplex(1 << 16);
    let server = async {
        let_in(&mut theirs).await;
        read(&mut theirs, 10).await;
        theirs.write_all(&rows(1, 0)).await.unwrap();
        read(&mut theirs, 10).await;
        theirs
    };
    let (seen, _open) = tokio::join!(watch(ours, Instant::now(), LONG), server);
    let error = seen.unwrap_err();
    assert!(error.to_string().contains("after 1 pictures"), "{error:#}");
}

#[tokio::test]
async fn something_else_is_told_apart() {
    let (ours, mut theirs) = duplex(64);
    theirs.write_all(b"SSH-2.0-Open").await.unwrap();
    let error = watch(ours, Instant::now(), LONG).await.unwrap_err();
    assert!(error.to_string().contains("SSH-2.0"), "{error:#}");
}
