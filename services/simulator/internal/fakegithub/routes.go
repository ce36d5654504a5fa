package fakegithub

// allRoutes are the operations that this GitHub knows, with the permission that GitHub documents for each.
func allRoutes() []route {
	const (
		repo, org   = "/repos/{owner}/{repo}", "/orgs/{org}"
		enterprise  = "/enterprises/{enterprise}"
		repoRunners = repo + "/actions/runners"
		orgRunners  = org + "/actions/runners"
		corpRunners = enterprise + "/actions/runners"
		repoHooks   = repo + "/hooks"
		orgHooks    = org + "/hooks"
		repoHook    = repoHooks + "/{hook_id}/deliveries"
		orgHook     = orgHooks + "/{hook_id}/deliveries"
		appHook     = "/app/hook/deliveries"
		orgAdmin    = "organization_self_hosted_runners"
		// No App can be given this one: only people have it, by the scope manage_runners:enterprise of their tokens.
		corpAdmin = "manage_runners:enterprise"
		release   = repo + "/releases"
	)
	return []route{
		{"GET /app", "app", "app", getApp},
		{"GET /app/installations", "list-installations", "app", listInstallations},
		{"GET /app/installations/{installation_id}", "get-installation", "app", getInstallation},
		{"POST /app/installations/{installation_id}/access_tokens", "access-tokens", "app", accessToken},
		{"GET " + repo + "/installation", "find-installation", "app", findInstallation},
		{"GET " + org + "/installation", "find-installation", "app", findInstallation},
		{"GET /users/{user}/installation", "find-installation", "app", findInstallation},

		{"POST " + repoRunners + "/generate-jitconfig", "generate-jitconfig", "administration:write", generateJIT},
		{"GET " + repoRunners, "list-runners", "administration", listRunners},
		{"GET " + repoRunners + "/{runner_id}", "get-runner", "administration", getRunner},
		{"DELETE " + repoRunners + "/{runner_id}", "delete-runner", "administration:write", deleteRunner},
		{"POST " + orgRunners + "/generate-jitconfig", "generate-jitconfig", orgAdmin + ":write", generateJIT},
		{"GET " + orgRunners, "list-runners", orgAdmin, listRunners},
		{"GET " + org + "/actions/runner-groups", "list-runner-groups", orgAdmin, listGroups},
		{"GET " + orgRunners + "/{runner_id}", "get-runner", orgAdmin, getRunner},
		{"DELETE " + orgRunners + "/{runner_id}", "delete-runner", orgAdmin + ":write", deleteRunner},

		{"POST " + corpRunners + "/generate-jitconfig", "generate-jitconfig", corpAdmin, generateJIT},
		{"GET " + corpRunners, "list-runners", corpAdmin, listRunners},
		{"GET " + enterprise + "/actions/runner-groups", "list-runner-groups", corpAdmin, listGroups},
		{"GET " + corpRunners + "/{runner_id}", "get-runner", corpAdmin, getRunner},
		{"DELETE " + corpRunners + "/{runner_id}", "delete-runner", corpAdmin, deleteRunner},

		{"GET " + repo + "/actions/jobs/{job_id}", "get-job", "actions", getJob},
		{"GET " + repo + "/actions/runs", "list-runs", "actions", listRuns},
		{"GET " + repo + "/actions/runs/{run_id}", "get-run", "actions", getRun},
		{"GET " + repo + "/actions/runs/{run_id}/jobs", "list-jobs", "actions", listJobs},
		{"POST " + repo + "/actions/runs/{run_id}/cancel", "cancel-run", "actions:write", cancelRun},
		{"POST " + repo + "/actions/runs/{run_id}/rerun", "rerun", "actions:write", rerun},

		{"POST " + repo + "/check-runs", "create-check-run", "checks:write", createCheckRun},
		{"PATCH " + repo + "/check-runs/{check_run_id}", "update-check-run", "checks:write", updateCheckRun},
		{"GET " + repo + "/commits/{ref}/check-runs", "list-check-runs", "checks", listCheckRuns},

		{"GET " + repoHooks, "list-hooks", "repository_hooks", listHooks},
		{"GET " + orgHooks, "list-hooks", "organization_hooks", listHooks},
		{"GET " + repoHook, "list-deliveries", "repository_hooks", listDeliveries},
		{"GET " + repoHook + "/{delivery_id}", "get-delivery", "repository_hooks", getDelivery},
		{"POST " + repoHook + "/{delivery_id}/attempts", "redeliver", "repository_hooks:write", redeliver},
		{"GET " + orgHook, "list-deliveries", "organization_hooks", listDeliveries},
		{"GET " + orgHook + "/{delivery_id}", "get-delivery", "organization_hooks", getDelivery},
		{"POST " + orgHook + "/{delivery_id}/attempts", "redeliver", "organization_hooks:write", redeliver},
		{"GET " + appHook, "list-deliveries", "app", listDeliveries},
		{"GET " + appHook + "/{delivery_id}", "get-delivery", "app", getDelivery},
		{"POST " + appHook + "/{delivery_id}/attempts", "redeliver", "app", redeliver},

		{"GET " + release + "/latest", "latest-release", "", latestRelease},
		{"GET " + release + "/tags/{tag}", "release", "", taggedRelease},
		{"GET /{owner}/{repo}/releases/download/{tag}/{file}", "download", "", download},
		{"GET /rate_limit", "rate-limit", "", rateLimit},
	}
}
