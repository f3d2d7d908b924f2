"""The row runners of one core, kept from batch to batch."""

from model.core import ColTranCore
from model.sampling.forecast import BatchForecaster, RowForecaster, can_forecast
from model.sampling.row import RowRunner


class RowRunners:
    """The row runners of one core, created when needed, for one batch size: one for each
    temperature, and for forecasts another one.

    Runners of another batch size are dropped. The batch size changes after running out of memory,
    which the recordings of the old runners would go on holding. forecasts_agree, many_agree:
    whether forecasts, and many lanes, draw on this machine what a few lanes draw; None until that
    has been tested.
    """

    def __init__(self, core: ColTranCore) -> None:
        self.core = core
        self.forecasts_agree: bool | None = None
        self.many_agree: bool | None = None
        self._batch = 0
        self._of_batch: dict[tuple[float, bool], RowRunner | BatchForecaster] = {}
        self._forecasters: dict[float, RowForecaster] = {}

    def of(
        self, batch: int, temperature: float, forecast: bool = False
    ) -> RowRunner | BatchForecaster:
        """The runner for a batch size and temperature."""
        if batch != self._batch:
            self._of_batch.clear()
            self._batch = batch
        key = (temperature, forecast)
        if key not in self._of_batch:
            kind = BatchForecaster if forecast else RowRunner
            self._of_batch[key] = kind(self.core, batch, temperature)
        return self._of_batch[key]

    def forecaster(self, temperature: float) -> RowForecaster:
        """The forecaster for a temperature. Raises ValueError where `can_forecast` is false."""
        if not can_forecast(self.core):
            raise ValueError("forecasts need a CPU with oneDNN, float32, and rows of whole blocks")
        if temperature not in self._forecasters:
            self._forecasters[temperature] = RowForecaster(self.core, temperature)
        return self._forecasters[temperature]
