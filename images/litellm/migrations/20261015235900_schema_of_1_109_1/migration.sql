-- What LiteLLM 1.109.1's schema has beyond litellm-proxy-extras 0.4.110, the newest on PyPI (1.109.1 names 0.4.113,
-- which was never published there). Written from schema.prisma; the end-to-end test reads every model through the client.
-- Only for this image's throw-away databases: the official image has the real migrations.

CREATE INDEX IF NOT EXISTS "LiteLLM_ManagedFileTable_created_by_created_at_idx"
  ON "LiteLLM_ManagedFileTable" ("created_by", "created_at" DESC);
CREATE INDEX IF NOT EXISTS "idx_background_interaction_settlement_settled_at"
  ON "LiteLLM_BackgroundInteractionSettlement" ("settled_at");

CREATE TYPE "AccountingEventKind" AS ENUM ('inbound_usage', 'outbound_usage', 'cost');
CREATE TYPE "AccountingDeliveryState" AS ENUM ('pending', 'applied', 'parked');
CREATE TYPE "AccountingDeliveryTarget" AS ENUM (
  'LiteLLM_VerificationToken', 'LiteLLM_UserTable', 'LiteLLM_TeamTable', 'LiteLLM_TeamMembership',
  'LiteLLM_OrganizationTable', 'LiteLLM_OrganizationMembership', 'LiteLLM_EndUserTable', 'LiteLLM_AgentsTable',
  'LiteLLM_TagTable', 'LiteLLM_ProjectTable', 'LiteLLM_ModelAccessGroupBudgetTable', 'LiteLLM_BudgetTable',
  'LiteLLM_BudgetWindowSpend', 'LiteLLM_DailyUserSpend', 'LiteLLM_DailyTeamSpend', 'LiteLLM_DailyOrganizationSpend',
  'LiteLLM_DailyEndUserSpend', 'LiteLLM_DailyAgentSpend', 'LiteLLM_DailyTagSpend', 'LiteLLM_DailyModelUsage',
  'LiteLLM_DailyToolSpend', 'LiteLLM_AutoRouterDailySpend');

CREATE TABLE "LiteLLM_AccountingEvent" (
  "event_id" TEXT PRIMARY KEY,
  "kind" "AccountingEventKind" NOT NULL,
  "source_event_id" TEXT,
  "schema_version" INTEGER NOT NULL,
  "payload_hash" TEXT NOT NULL,
  "occurred_at" TIMESTAMP(3) NOT NULL,
  "recorded_at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "payload" JSONB NOT NULL
);
CREATE INDEX "LiteLLM_AccountingEvent_recorded_at_idx" ON "LiteLLM_AccountingEvent" ("recorded_at");
CREATE INDEX "LiteLLM_AccountingEvent_kind_source_event_id_idx" ON "LiteLLM_AccountingEvent" ("kind", "source_event_id");

CREATE TABLE "LiteLLM_AccountingDelivery" (
  "event_id" TEXT NOT NULL,
  "target" "AccountingDeliveryTarget" NOT NULL,
  "version" INTEGER NOT NULL,
  "state" "AccountingDeliveryState" NOT NULL DEFAULT 'pending',
  "attempts" INTEGER NOT NULL DEFAULT 0,
  "next_attempt_at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "applied_at" TIMESTAMP(3),
  "last_error" TEXT,
  PRIMARY KEY ("event_id", "target", "version")
);
CREATE INDEX "LiteLLM_AccountingDelivery_target_state_next_attempt_at_idx"
  ON "LiteLLM_AccountingDelivery" ("target", "state", "next_attempt_at");

CREATE TABLE "LiteLLM_SubscriptionAccountTable" (
  "subscription_account_id" TEXT PRIMARY KEY,
  "custom_llm_provider" TEXT NOT NULL,
  "account_id" TEXT NOT NULL,
  "label" TEXT,
  "monthly_fee" DOUBLE PRECISION NOT NULL,
  "currency" TEXT NOT NULL,
  "billing_period_start" TEXT NOT NULL,
  "created_at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "created_by" TEXT NOT NULL,
  "updated_at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "updated_by" TEXT NOT NULL
);
CREATE UNIQUE INDEX "LiteLLM_SubscriptionAccountTable_provider_account_key"
  ON "LiteLLM_SubscriptionAccountTable" ("custom_llm_provider", "account_id");
