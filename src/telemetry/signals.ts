import {
  type CertificateSignal,
  certificateSeen,
  type ThrottledSignal,
  throttled,
} from "../engine/ports/signals.ts";
import type { Telemetry } from "../engine/ports/telemetry.ts";

const dayMs = 24 * 60 * 60 * 1000;
/** From here on there is time to renew, and reason to. */
export const expiryWarningDays = 30;

/**
 * Tells of throttling, and once a day of a certificate that ends soon.
 * @returns ends the listening
 */
export function tellSignals(telemetry: Telemetry, now: () => number): () => void {
  const toldAt = new Map<string, number>();
  const onThrottled = (message: unknown): void => {
    const { system } = message as ThrottledSignal;
    telemetry.metric("vestibule.throttled", 1, { system });
  };
  const onCertificate = (message: unknown): void => {
    const { host, validTo } = message as CertificateSignal;
    const days = Math.floor((validTo - now()) / dayMs);
    if (days > expiryWarningDays || now() - (toldAt.get(host) ?? Number.NEGATIVE_INFINITY) < dayMs) return;
    toldAt.set(host, now());
    telemetry.event("CredentialExpiring", {
      connector: host,
      status: days < 0 ? "expired" : "expires-soon",
      objects: `certificate of ${host}`,
      remedy: `The certificate of ${host} ends on ${new Date(validTo).toISOString().slice(0, 10)} (${days} days). Renew it, and AD_CA_CERTIFICATE if its authority changes.`,
    });
  };
  throttled.subscribe(onThrottled);
  certificateSeen.subscribe(onCertificate);
  return () => {
    throttled.unsubscribe(onThrottled);
    certificateSeen.unsubscribe(onCertificate);
  };
}
