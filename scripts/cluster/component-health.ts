export type ComponentState = "running" | "stopped" | "sick";

export interface ComponentHealth {
  readonly component: string;
  readonly state: ComponentState;
  readonly detail: string;
  readonly logFile: string;
}
