import {
  type CertificateSignal,
  certificateSeen,
  type ThrottledSignal,
  throttled,
} from "../engine/ports/signals.ts";
import type { Telemetry } from "../engine/ports/telemetry.ts";
import type { KnownCredential } from "./credentials.ts";

const dayMs = 24 * 60 * 60 * 1000;
/** From here on there is time to renew, and reason to. */
export const expiryWarningDays = 30;

export interface Signals {
  /** Tells of those that end soon, each once a day, however often it is called. */
  lookAt(credentials: readonly KnownCredential[]): void;
  /** Ends the listening. */
  stop(): void;
}

/**
 * Tells of throttling, and once a day of a certificate or secret that ends soon.
 * @param connectorOf names the connector that a directory server serves
 */
export function tellSignals(
  telemetry: Telemetry,
  now: () => number,
  connectorOf: (host: string) => string = (host) => host,
): Signals {
  const toldAt = new Map<string, number>();
  const onThrottled = (message: unknown): void => {
    const { system } = message as ThrottledSignal;
    telemetry.metric("vestibule.throttled", 1, { system });
  };
  const tell = ({ connector, what, validTo, remedy }: KnownCredential): void => {
    const days = Math.floor((validTo - now()) / dayMs);
    if (days > expiryWarningDays || now() - (toldAt.get(what) ?? Number.NEGATIVE_INFINITY) < dayMs) return;
    toldAt.set(what, now());
    telemetry.event("CredentialExpiring", {
      connector,
      status: days < 0 ? "expired" : "expires-soon",
      objects: what,
      remedy: `The ${what} ends on ${new Date(validTo).toISOString().slice(0, 10)} (${days} days). ${remedy}`,
    });
  };
  const onCertificate = (message: unknown): void => {
    const { host, validTo } = message as CertificateSignal;
    tell({
      connector: connectorOf(host),
      what: `certificate of ${host}`,
      validTo,
      remedy: "Renew it, and AD_CA_CERTIFICATE if its authority changes.",
    });
  };
  throttled.subscribe(onThrottled);
  certificateSeen.subscribe(onCertificate);
  return {
    lookAt: (credentials) => credentials.forEach(tell),
    stop() {
      throttled.unsubscribe(onThrottled);
      certificateSeen.unsubscribe(onCertificate);
    },
  };
}
