/** The events that somebody should see, to a webhook: as JSON, or as a card that a Teams workflow posts. */
import type { Dimensions, Telemetry, TelemetryEvent } from "../engine/ports/telemetry.ts";

export interface WebhookOptions {
  /** A secret: whoever has it can post. It is never logged. */
  readonly url: string;
  readonly format: "json" | "teams";
  /** Milliseconds without a cycle that ended well, before that is told of. */
  readonly overdueMs: number;
  /** Told of a message that could not be delivered, without the address. */
  onFailure(message: string): void;
  readonly timeoutMs?: number;
}

/** In Azure a query finds that nothing has happened; here the age of the last good cycle says it. */
type WebhookEvent = TelemetryEvent | "CycleOverdue";

const titles: Readonly<Record<WebhookEvent, string>> = {
  RunEnded: "A run did not end well",
  ExportHeld: "Somebody has to decide: exports are held, or new rules wait",
  PermissionLost: "Access is refused",
  CredentialExpiring: "A credential ends soon",
  CycleOverdue: "No cycle has ended well for too long",
};

/** Runs that ended well are no news; everything else is sent once, and once more when it was not taken. */
export function webhook({
  url,
  format,
  overdueMs,
  onFailure,
  timeoutMs = 10_000,
}: WebhookOptions): Telemetry {
  const underWay = new Set<Promise<void>>();
  let isOverdueTold = false;

  async function post(name: WebhookEvent, properties: Dimensions): Promise<void> {
    const body = JSON.stringify(
      format === "teams" ? card(name, properties) : { event: name, title: titles[name], ...properties },
    );
    for (const last of [false, true]) {
      try {
        const response = await fetch(url, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body,
          redirect: "error",
          signal: AbortSignal.timeout(timeoutMs),
        });
        await response.body?.cancel();
        if (response.ok) return;
        if (last) onFailure(`The webhook answered ${response.status} to ${name}. Check WEBHOOK_URL.`);
      } catch (error) {
        // The error of fetch names the address, which is secret.
        const why =
          (error as Error).name === "TimeoutError" ? "did not answer in time" : "could not be reached";
        if (last) onFailure(`The webhook ${why} for ${name}. Check WEBHOOK_URL.`);
      }
    }
  }

  function send(name: WebhookEvent, properties: Dimensions): void {
    const posted: Promise<void> = post(name, properties).finally(() => underWay.delete(posted));
    underWay.add(posted);
  }

  return {
    event(name, properties) {
      if (
        name === "RunEnded" &&
        properties.outcome !== "failed" &&
        properties.outcome !== "succeeded-in-part"
      )
        return;
      send(name, properties);
    },
    metric(name, value) {
      if (name !== "vestibule.cycle.age") return;
      const isOverdue = value >= overdueMs;
      if (isOverdue && !isOverdueTold) {
        const minutes = Math.floor(value / 60_000);
        send("CycleOverdue", {
          connector: "all",
          status: "overdue",
          objects: "none",
          remedy: `No cycle has ended well for ${minutes} minutes or longer. See the last runs (vestibule runs); is the schedule suspended?`,
        });
      }
      isOverdueTold = isOverdue;
    },
    span: () => {},
    flush: async () => void (await Promise.all(underWay)),
  };
}

/** https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using */
function card(name: WebhookEvent, properties: Dimensions): object {
  const shown = ["connector", "status", "objects", "remedy", "run"].filter((key) => properties[key]);
  return {
    type: "message",
    attachments: [
      {
        contentType: "application/vnd.microsoft.card.adaptive",
        content: {
          $schema: "http://adaptivecards.io/schemas/adaptive-card.json",
          type: "AdaptiveCard",
          version: "1.4",
          body: [
            {
              type: "TextBlock",
              size: "Medium",
              weight: "Bolder",
              wrap: true,
              text: `Vestibule: ${titles[name]}`,
            },
            { type: "FactSet", facts: shown.map((key) => ({ title: key, value: properties[key] })) },
          ],
        },
      },
    ],
  };
}
