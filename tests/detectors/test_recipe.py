"""What a recipe may say, and what is said of one that is wrong."""

from pathlib import Path

import pytest

from fusion_rt.detectors.folder import FAMILIES, load_recipe
from fusion_rt.errors import ConfigError
from fusion_rt.models.package import ModelPackage
from fusion_rt.scenario import find_file

SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "configs" / "detectors").glob("*.yaml"))
OURS = ("car", "pedestrian", "cyclist")


def test_a_class_may_stand_for_several_of_ours(write_recipe):
    recipe = load_recipe(write_recipe())
    assert recipe.mapped(OURS) == ((0,), (1, 2))
    assert recipe.image.shape == (1, 3, 20, 30)
    assert recipe.sensor == "camera"


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_sound(name):
    recipe = load_recipe(find_file(name, "detectors"))
    assert recipe.name == name
    assert any(recipe.mapped(ModelPackage.load("driving-s").spec.classes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "gird"}, "family: 'gird' is not known, did you mean 'grid'?"),
        ({"family": ["grid"]}, "family: ['grid'] is not known"),
        ({"name": "a/b"}, "name: "),
        ({"class_map": {"person": []}}, "class_map"),
        ({"clases": []}, "clases: unknown key, did you mean 'classes'?"),
        ({"class_map": {}}, "class_map is empty"),
        ({"class_map": {"persn": "car"}}, "class_map: 'persn' is not in `classes`, did you mean 'person'?"),
        ({"image": {"fit": "strech"}}, "fit: 'strech' is not known, did you mean 'stretch'?"),
        ({"image": {"std": [1.0, 0.0, 1.0]}}, "image.std"),
        ({"score_threshold": 2.0}, "score_threshold"),
    ],
)
def test_what_is_wrong_is_named(write_recipe, changes, message):
    path = write_recipe(**changes)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_recipe_without_a_family(write_recipe):
    with pytest.raises(ConfigError, match=rf"family: missing; there are: {', '.join(FAMILIES)}"):
        load_recipe(write_recipe({"name": "x"}))


def test_a_class_that_is_not_ours(write_recipe):
    recipe = load_recipe(write_recipe(class_map={"auto": "cars"}))
    with pytest.raises(
        ConfigError, match=r"class_map.auto: 'cars' is not a class of the model, did you mean"
    ):
        recipe.mapped(OURS)
