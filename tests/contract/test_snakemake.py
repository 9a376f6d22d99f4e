"""What workflow/rules uses of Snakemake's own objects.

Snakemake's documentation does not describe `workflow` inside a Snakefile.
"""

import pytest
from support.contract import broken, entries

RELIED_UPON = {
    "rules/common.smk": [
        "workflow.py Workflow.config_settings",
        "workflow.py Workflow.configfiles",
        "workflow.py Workflow.is_main_process",
        "workflow.py Workflow.local_exec",
        "workflow.py Workflow.deployment_settings",
        "workflow.py Workflow.resource_settings",
        "workflow.py Workflow.global_resources",
        "workflow.py Workflow.register_resource(self, name, value)",
        "workflow.py Workflow.basedir",
        "workflow.py Workflow.dag",
        "workflow.py Workflow.scheduler",
        "workflow.py Workflow.touch",
        "settings/types.py ConfigSettings.configfiles",
        "settings/types.py ConfigSettings.config_args",
        "settings/types.py DeploymentSettings.deployment_method",
        "settings/types.py ResourceSettings.cores",
        "settings/types.py ResourceSettings.nodes",
        "scheduling/job_scheduler.py JobScheduler.schedule(self)",
        "scheduling/job_scheduler.py JobScheduler.job_rate_limiter",
        'scheduling/job_scheduler.py "if self.job_rate_limiter is None"',
        "dag.py DAG.needrun_jobs(self)",
        "dag.py DAG.forcefiles",
        "exceptions.py WorkflowError",
        "logging.py logger",
    ],
}


@pytest.mark.parametrize(("ours", "entry"), entries(RELIED_UPON))
def test_snakemake_has_what_is_used_of_it(ours, entry):
    assert (reason := broken("snakemake", ours, entry)) is None, reason


@pytest.mark.parametrize("method", ["CONDA", "APPTAINER"])
def test_deployment_methods_have_the_names_that_are_compared(method):
    reason = broken(
        "snakemake_interface_executor_plugins", "rules/common.smk", f"settings.py DeploymentMethod.{method}"
    )
    assert reason is None, reason
