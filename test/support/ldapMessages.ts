/** Takes a stream of LDAP messages (RFC 4511, 4.1.1) apart, as far as a test needs to see them. */
import type { TLSSocket } from "node:tls";

export interface LdapMessage {
  readonly id: number;
  /** Tag of the operation: 0x60 bind, 0x63 search, 0x66 modify, 0x68 add, 0x6c modify DN, 0x4a delete, 0x42 unbind. */
  readonly operation: number;
  /** The whole message. */
  readonly bytes: Buffer;
}

export function eachMessage(socket: TLSSocket, work: (message: LdapMessage) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (data) => {
    rest = Buffer.concat([rest, data]);
    for (;;) {
      const whole = element(rest, 0);
      if (whole === undefined || whole.end > rest.length) return;
      const bytes = Buffer.from(rest.subarray(0, whole.end));
      rest = rest.subarray(whole.end);
      const id = element(bytes, whole.start)!;
      work({ id: bytes.readIntBE(id.start, id.end - id.start), operation: bytes[id.end]!, bytes });
    }
  });
}

/** Where the content of the BER element at `at` stands. */
function element(bytes: Buffer, at: number): { start: number; end: number } | undefined {
  if (bytes.length < at + 2) return undefined;
  const first = bytes[at + 1]!;
  if (first < 0x80) return { start: at + 2, end: at + 2 + first };
  const count = first & 0x7f;
  if (bytes.length < at + 2 + count) return undefined;
  return { start: at + 2 + count, end: at + 2 + count + bytes.readUIntBE(at + 2, count) };
}
