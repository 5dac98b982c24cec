import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { ConnectorError } from "../../ports/connector.ts";
import { type CertificateSignal, certificateSeen } from "../../ports/signals.ts";
import { connectionFailure, noticeOfDisconnection } from "./ldapErrors.ts";
import { type LdapEntry, LdapFramer, LdapProtocolError, type LdapResult } from "./ldapMessages.ts";

/** A request as ldapts writes it; the connection sets the id. */
export interface LdapRequest {
  messageId: number;
  write(): Buffer;
}

export interface ConnectionTarget {
  /** `ldaps://host[:port]` */
  readonly url: string;
  readonly tls: ConnectionOptions;
  readonly connectTimeoutMs: number;
}

/** Called for each entry as it arrives; only searches have any. */
export type TakeEntry = (entry: LdapEntry) => void;

interface PendingRequest {
  take: TakeEntry | undefined;
  /** Of `take`, which then gets no more. */
  failure?: { readonly error: unknown };
  readonly timer: NodeJS.Timeout;
  readonly resolve: (result: LdapResult) => void;
  readonly reject: (error: unknown) => void;
}

const messageIdMax = 2 ** 31 - 1;
/** A hybrid connection drops idle connections without a word; keep-alive probes find that out. */
const keepAliveMs = 60_000;

/**
 * One TLS connection. Requests are pipelined. The first trouble (closed, garbled, silent for too long) ends the
 * connection and every request on it: what has been asked for by then may have happened or not.
 */
export class LdapConnection {
  readonly #url: string;
  readonly #socket: TLSSocket;
  readonly #framer = new LdapFramer();
  readonly #pending = new Map<number, PendingRequest>();
  #lastId = 0;
  #failure: ConnectorError | undefined;

  private constructor(url: string, socket: TLSSocket) {
    this.#url = url;
    this.#socket = socket;
    socket.setKeepAlive(true, keepAliveMs);
    socket.on("data", (data) => this.#receive(data));
    socket.on("error", (error) => this.#end(connectionFailure(error, url)));
    socket.on("close", () => this.#end(connectionFailure(new Error("the connection was closed"), url)));
  }

  /** @throws ConnectorError "unreachable", with a message that names the setting to look at. */
  static open({ url, tls, connectTimeoutMs }: ConnectionTarget): Promise<LdapConnection> {
    const { hostname, port } = new URL(url);
    const host = hostname.replace(/^\[(.*)\]$/, "$1"); // an IPv6 address stands in brackets
    return new Promise((resolve, reject) => {
      const socket = connect({ ...tls, host, port: port === "" ? 636 : Number(port) });
      socket.once("secureConnect", () => {
        const validTo = Date.parse(socket.getPeerCertificate().valid_to);
        certificateSeen.publish({ host: tls.servername ?? host, validTo } satisfies CertificateSignal);
      });
      const settle = (error: Error | undefined) => {
        clearTimeout(timer);
        socket.removeAllListeners();
        if (error === undefined) return resolve(new LdapConnection(url, socket));
        socket.on("error", () => {}); // the failure is known; a second one says nothing new
        socket.destroy();
        reject(connectionFailure(error, url));
      };
      const timer = setTimeout(
        () => settle(new Error(`no connection within ${connectTimeoutMs / 1000} s`)),
        connectTimeoutMs,
      );
      socket.once("secureConnect", () => settle(undefined));
      socket.once("error", settle);
      socket.once("close", () => settle(new Error("the connection was closed during the TLS handshake")));
    });
  }

  get usable(): boolean {
    return this.#failure === undefined;
  }

  /**
   * @param silenceMs ends the connection when nothing has come for this request for so long.
   * @throws ConnectorError "unreachable": whether a write was done is unknown; and what `take` throws.
   */
  request(request: LdapRequest, silenceMs: number, take?: TakeEntry): Promise<LdapResult> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#lastId = this.#lastId === messageIdMax ? 1 : this.#lastId + 1;
    const id = this.#lastId;
    request.messageId = id;
    const bytes = request.write();
    const { promise, resolve, reject } = Promise.withResolvers<LdapResult>();
    this.#pending.set(id, { take, timer: this.#silenceTimer(silenceMs), resolve, reject });
    this.#socket.write(bytes);
    return promise;
  }

  #silenceTimer(silenceMs: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#end(connectionFailure(new Error(`no answer within ${silenceMs / 1000} s`), this.#url));
    }, silenceMs);
  }

  /** Sends `farewell` (an unbind) and closes. What is still pending fails. */
  close(farewell: LdapRequest): void {
    if (this.#failure !== undefined) return;
    farewell.messageId = this.#lastId + 1;
    const failure = new ConnectorError(
      "unreachable",
      "The connection to the directory was closed by its user.",
    );
    this.#settle(failure);
    this.#socket.unref(); // a peer that is gone must not keep the process
    this.#socket.end(farewell.write());
  }

  #receive(data: Buffer): void {
    try {
      this.#framer.read(data, (response) => {
        if (response.id === 0 && response.kind === "result") {
          this.#end(noticeOfDisconnection(response.result, this.#url));
          return;
        }
        const pending = this.#pending.get(response.id);
        if (pending === undefined) return; // the answer to a request that has failed with its connection
        pending.timer.refresh();
        if (response.kind === "entry") takeEntry(pending, response.entry);
        if (response.kind !== "result") return;
        this.#pending.delete(response.id);
        clearTimeout(pending.timer);
        pending.take = undefined;
        if (pending.failure === undefined) pending.resolve(response.result);
        else pending.reject(pending.failure.error);
      });
    } catch (error) {
      if (!(error instanceof LdapProtocolError)) throw error;
      this.#end(connectionFailure(new Error(`the answer is not LDAP (${error.message})`), this.#url));
    }
  }

  #end(failure: ConnectorError): void {
    if (this.#failure !== undefined) return;
    this.#settle(failure);
    this.#socket.destroy();
  }

  #settle(failure: ConnectorError): void {
    this.#failure = failure;
    for (const { timer, reject } of this.#pending.values()) {
      clearTimeout(timer);
      reject(failure);
    }
    this.#pending.clear();
  }
}

/** Other requests share the connection, so a failure is told to its own request alone. */
function takeEntry(pending: PendingRequest, entry: LdapEntry): void {
  if (pending.failure !== undefined) return;
  try {
    pending.take?.(entry);
  } catch (error) {
    pending.failure = { error };
  }
}
