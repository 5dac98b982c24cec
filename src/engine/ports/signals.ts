/**
 * What connectors notice on the way and nobody has to wait for: Node's diagnostics channels, which cost nothing while
 * nobody listens.
 */
import { channel } from "node:diagnostics_channel";

export interface ThrottledSignal {
  /** The service that asked for the wait. */
  readonly system: "graph" | "ad";
  readonly waitMs: number;
}

export interface CertificateSignal {
  /** The name that was verified. */
  readonly host: string;
  /** Milliseconds since 1970. */
  readonly validTo: number;
}

export const throttled = channel("vestibule:throttled");
export const certificateSeen = channel("vestibule:certificate");
